-- Does what time does by itself, and counts tasks. Yields {1 when nothing is left to do, ms until there is or -1,
-- waiting, running, ended, dead, ends yet to be told}.
local all = tend(500)
return {
  all and 1 or 0, next_event(), redis.call('ZCARD', overdue), redis.call('ZCARD', running), redis.call('ZCARD', ended),
  redis.call('ZCARD', dead), redis.call('ZCARD', callbacks),
}
