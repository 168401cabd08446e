-- Hands out the end of a task that is to be told. ARGV: for how long (ms) it is not handed out again.
-- Yields {id, attempt, since when it has ended (ms), phase, outcome, the sealed address}, or {ms until there is one, or -1}.
while true do
  local first = redis.call('ZRANGE', callbacks, 0, 0, 'WITHSCORES')
  if not first[1] then return { -1 } end
  local id, due = first[1], tonumber(first[2])
  if due > now then return { due - now } end
  local task = current(id)
  local sealed = task and redis.call('HGET', task_key(id), 'callback')
  if sealed then
    local attempt = redis.call('HINCRBY', task_key(id), 'attempts', 1)
    redis.call('ZADD', callbacks, now + tonumber(ARGV[6]), id)
    local until_then = tonumber(redis.call('ZSCORE', ended, id)) or now
    return { id, attempt, math.max(now - (until_then - result_ttl), 0), task.phase, task.outcome or '', sealed }
  end
  redis.call('ZREM', callbacks, id)
end
