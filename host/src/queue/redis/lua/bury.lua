-- Gives a task up. ARGV: id, delivery, outcome, why. Yields 1, or 0 when the lease is lost.
local task = held(ARGV[6], ARGV[7])
if not task then return 0 end
redis.call('HSET', task_key(task.id), 'error', ARGV[9])
count_settled()
finish(task, 'F', ARGV[8], true)
return 1
