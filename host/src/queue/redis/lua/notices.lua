-- What all nodes are to run. Yields {slot, 'NUMBER DIGEST NOTICE', ...}.
local answer = {}
for _, slot in ipairs({ 'gateway', 'analyzer', 'scorer' }) do
  local now = redis.call('HGET', fleet, 'now:' .. slot)
  if now then
    answer[#answer + 1] = slot
    answer[#answer + 1] = now
  end
end
return answer
