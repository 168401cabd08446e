-- Takes a task back as if it had not been claimed. ARGV: id, delivery. Yields 1, or 0 when the lease is lost.
local task = held(ARGV[6], ARGV[7])
if not task then return 0 end
task.released = redis.call('HINCRBY', task_key(task.id), 'released', 1)
give_back(task, 0)
return 1
