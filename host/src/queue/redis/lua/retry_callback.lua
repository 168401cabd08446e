-- Has the end of a task told again later. ARGV: id, attempt, delay (ms). Yields 1, or 0 when the attempt is not the newest.
if not telling(ARGV[6], ARGV[7]) then return 0 end
redis.call('ZADD', callbacks, now + tonumber(ARGV[8]), ARGV[6])
tell('@')
return 1
