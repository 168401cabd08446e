-- Ends a task; that the delivery is the newest and runs is the comparison, all below is the swap.
-- ARGV: id, delivery, phase (S or F), outcome. Yields 1, or 0 when the lease is lost.
local task = held(ARGV[6], ARGV[7])
if not task then return 0 end
count_settled()
finish(task, ARGV[8], ARGV[9])
return 1
