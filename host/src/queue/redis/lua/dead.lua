-- Lists tasks that were given up, those first that were given up first. ARGV: how many at most.
-- Yields for each {id, age (ms), deliveries that count, why the last failed, for how much longer (ms) its payload is kept or -1}.
local list = {}
for _, id in ipairs(redis.call('ZRANGE', dead, 0, tonumber(ARGV[6]) - 1)) do
  local task = current(id)
  if task then list[#list + 1] = { id, now - task.submitted, tries(task), task.error or '', payload_left(task) } end
end
return list
