-- The end of a task is not to be told any more. ARGV: id, attempt. Yields 1, or 0 when the attempt is not the newest.
if not telling(ARGV[6], ARGV[7]) then return 0 end
redis.call('ZREM', callbacks, ARGV[6])
drop_callback(ARGV[6])
return 1
