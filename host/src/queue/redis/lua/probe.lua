-- Writes next to nothing, to see whether the server takes it.
redis.call('SET', prefix .. 'probe', '', 'PX', SLACK)
return 1
