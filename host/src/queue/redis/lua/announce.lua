-- A node says that it lives. ARGV: its name, and its report; without a report it has stopped.
local node, report = ARGV[6], ARGV[7]
local nodes, reports = fleet .. ':nodes', fleet .. ':node-reports'
if report then
  redis.call('ZADD', nodes, time(), node)
  redis.call('HSET', reports, node, report)
else
  redis.call('ZREM', nodes, node)
  redis.call('HDEL', reports, node)
end
for _, silent in ipairs(redis.call('ZRANGE', nodes, '-inf', time() - 3600000, 'BYSCORE')) do
  redis.call('ZREM', nodes, silent)
  redis.call('HDEL', reports, silent)
end
return redis.status_reply('OK')
