-- Does what time does by itself, and counts tasks. Yields {1 when nothing is left to do, ms until there is or -1,
-- waiting, running, ended, dead, ends yet to be told, the age (ms) of the oldest task that is due or -1}.
local all = tend(500)
local first = redis.call('ZRANGE', ready, 0, 0)[1]
local submitted = first and redis.call('HGET', task_key(first), 'submitted')
return {
  all and 1 or 0, next_event(), redis.call('ZCARD', overdue), redis.call('ZCARD', running), redis.call('ZCARD', ended),
  redis.call('ZCARD', dead), redis.call('ZCARD', callbacks), submitted and math.max(now - tonumber(submitted), 0) or -1,
}
