-- Schedules another try. ARGV: id, delivery, delay (ms), why. Yields 1, or 0 when the lease is lost.
local task = held(ARGV[6], ARGV[7])
if not task then return 0 end
redis.call('HINCRBY', task_key(task.id), 'retries', 1)
give_back(task, tonumber(ARGV[8]), ARGV[9])
return 1
