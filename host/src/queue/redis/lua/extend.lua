-- Renews a lease. ARGV: id, delivery. Yields 1, or 0 when the lease is lost.
local task = held(ARGV[6], ARGV[7])
if not task then return 0 end
redis.call('ZADD', running, now + lease, task.id)
keep(task, lease + payload_ttl + result_ttl)
return 1
