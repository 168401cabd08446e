-- Tells all nodes what to run. ARGV: the notice in JSON, its package's digest, then the slots that it is for.
-- Yields the notice's number. What the notice replaces is kept beside it, should it be withdrawn.
local notice, digest = ARGV[6], ARGV[7]
local number = redis.call('HINCRBY', fleet, 'number', 1)
for at = 8, #ARGV do
  local slot = ARGV[at]
  local replaced = redis.call('HGET', fleet, 'now:' .. slot)
  if replaced then
    redis.call('HSET', fleet, 'before:' .. slot, replaced)
  else
    redis.call('HDEL', fleet, 'before:' .. slot)
  end
  redis.call('HSET', fleet, 'now:' .. slot, number .. ' ' .. digest .. ' ' .. notice)
end
redis.call('SADD', fleet .. ':packages', digest)
sweep()
tell()
return number
