-- All nodes that have spoken within the last hour. Yields {{name, report, milliseconds ago}, ...}, who spoke last first.
local answer = {}
local spoken = redis.call('ZRANGE', fleet .. ':nodes', 0, -1, 'REV', 'WITHSCORES')
for at = 1, #spoken, 2 do
  local report = redis.call('HGET', fleet .. ':node-reports', spoken[at])
  if report then answer[#answer + 1] = { spoken[at], report, math.max(time() - tonumber(spoken[at + 1]), 0) } end
end
return answer
