-- A node joins the queue. ARGV: its name, the fingerprints of its keys, of which the first is the one it seals with and the others
-- open what was sealed before, with a space between; the limits it goes by.
-- Takes back what the last process under this name ran when it died, and yields how many tasks that were. Yields -1, and
-- does nothing, when photographs in the queue were sealed with another key. Without a name it is only told whether it
-- would be let in.
local node, fingerprint = ARGV[6], string.match(ARGV[7], '^%x*')

local known = redis.call('GET', prefix .. 'fingerprint')
if not known or not string.find(' ' .. ARGV[7] .. ' ', ' ' .. known .. ' ', 1, true) then
  local sealed = redis.call('ZCARD', overdue) + redis.call('ZCARD', running) + redis.call('ZCOUNT', kept, now, '+inf')
    + redis.call('ZCARD', callbacks)
  if known and sealed > 0 then return -1 end
end
if node == '' then return 0 end
if known ~= fingerprint then redis.call('SET', prefix .. 'fingerprint', fingerprint) end
redis.call('SET', prefix .. 'limits', ARGV[8])

local ids = redis.call('SMEMBERS', node_key(node))
for _, id in ipairs(ids) do
  local task = current(id)
  if task and task.phase == 'R' and task.node == node then
    give_back(task, 0, 'the host stopped')
  else
    redis.call('SREM', node_key(node), id)
  end
end
return #ids
