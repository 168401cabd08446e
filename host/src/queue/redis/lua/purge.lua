-- Removes a task that was given up. ARGV: id. Yields 'gone', or why it is still there: 'unknown', 'alive'.
local task = current(ARGV[6])
if not task then return 'unknown' end
if not redis.call('ZSCORE', dead, task.id) then return 'alive' end
forget(task.id, task)
tell(task.id)
return 'gone'
