-- Removes a task, wherever it stands. ARGV: id. Yields 1, or 0 when there is none.
local task = current(ARGV[6])
if not task then return 0 end
leave(task)
forget(task.id, task)
tell(task.id)
return 1
