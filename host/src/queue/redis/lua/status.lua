-- Looks a task up. ARGV: id. Yields {} for an unknown one, else {phase, newest delivery, deliveries that count, outcome}.
local task = current(ARGV[6])
if not task then return {} end
return { task.phase, task.delivery, tries(task), task.outcome or '' }
