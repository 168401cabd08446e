-- Opens a task again that was given up. ARGV: id. Yields 'open', or why it is not: 'unknown', 'alive', 'bare' when there is
-- no payload any more.
local task = current(ARGV[6])
if not task then return 'unknown' end
if not redis.call('ZSCORE', dead, task.id) then return 'alive' end
if payload_left(task) < 0 then return 'bare' end
for _, set in ipairs({ ended, dead, kept, callbacks }) do redis.call('ZREM', set, task.id) end
redis.call('HDEL', task_key(task.id), 'outcome', 'error')
-- The count of deliveries goes on: it fences.
redis.call('HSET', task_key(task.id), 'released', task.delivery, 'retries', 0)
-- What is still being told of its first end says nothing of the next.
if redis.call('HGET', task_key(task.id), 'attempts') then redis.call('HINCRBY', task_key(task.id), 'attempts', 1) end
wait(task, 0)
tell(task.id)
return 'open'
