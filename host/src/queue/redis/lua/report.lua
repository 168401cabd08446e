-- A node says what became of a notice. ARGV: the number, the node, its words in JSON, 1 when it was rejected, how many of a
-- hundred nodes may reject it, the number of nodes that live.
-- Yields 1 when with that the notice was withdrawn, else 0.
local number, node, words, rejected = ARGV[6], ARGV[7], ARGV[8], ARGV[9] == '1'
local share, nodes = tonumber(ARGV[10]), tonumber(ARGV[11])
local key = fleet .. ':reports:' .. number
redis.call('HSET', key, node, words)
redis.call('PEXPIRE', key, 86400000)
if not rejected then return 0 end
redis.call('SADD', key .. ':rejected', node)
redis.call('PEXPIRE', key .. ':rejected', 86400000)
if redis.call('SCARD', key .. ':rejected') * 100 <= share * nodes then return 0 end
return withdraw(number) > 0 and 1 or 0
