-- Hands out the oldest task that is due. ARGV: the node that asks.
-- Yields {id, delivery, retries, age (ms), how many more are due, the trace or empty}, or {} when none is. The payload is to be fetched then: a
-- script would copy it twice.
local node = ARGV[6]

local tended = false
while true do
  local id = redis.call('ZRANGE', ready, 0, 0)[1]
  if not id and not tended then
    -- Nobody may have looked for a while.
    tend(100)
    tended = true
    id = redis.call('ZRANGE', ready, 0, 0)[1]
  end
  if not id then return {} end
  local task = current(id)
  if not task then
    forget(id)
  elseif task.phase ~= 'W' then
    redis.call('ZREM', ready, id)
  else
    if redis.call('EXISTS', payload_key(id)) == 0 then
      -- The server has expired or evicted it: whoever waits for the task must learn that it is over.
      time_out(task)
    else
      leave(task)
      local delivery = task.delivery + 1
      redis.call('HSET', task_key(id), 'phase', 'R', 'delivery', delivery, 'node', node)
      redis.call('ZADD', running, now + lease, id)
      redis.call('SADD', node_key(node), id)
      keep(task, lease + payload_ttl + result_ttl)
      local trace = redis.call('HGET', task_key(id), 'trace') or ''
      return { id, delivery, task.retries, now - task.submitted, redis.call('ZCARD', ready), trace }
    end
  end
end
