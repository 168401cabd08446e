-- Revokes a task that has not ended. ARGV: id. Yields {} for an unknown one, {phase} for one that was revoked just now,
-- {phase, outcome} for one that had ended.
local task = current(ARGV[6])
if not task then return {} end
if task.phase ~= 'W' and task.phase ~= 'R' then return { task.phase, task.outcome or '' } end
finish(task, 'X')
return { 'X' }
