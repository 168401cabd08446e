-- Accepts a task whose payload is there. ARGV: id, hash of the idempotency key or empty, digest of the payload, longest line,
-- hash of the client or empty, how many of its tasks may wait, how old a task may become until it ends (ms; 0: any age),
-- the sealed address that its end is told to or empty, the trace that it is submitted in or empty, hash of the owner or empty, and
-- hash and digest by each older key, all with spaces between.
-- Yields {'new', id}, {'known', id}, {'conflict'}, {'full', 'overloaded' or 'crowded', milliseconds until there may be room for it
-- or for its client} or {'bare'} when there is no payload. Whenever the task is not new, its payload is deleted.
local id, hash, digest, max_length = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
local client = ARGV[10] ~= '' and ARGV[10]

local function refuse(why, more)
  redis.call('DEL', payload_key(id))
  return { why, more }
end

for by_hash, by_digest in string.gmatch(hash .. ' ' .. digest .. ' ' .. ARGV[16], '(%x+) (%x+)') do
  local entry = redis.call('GET', idempotency_key(by_hash))
  if entry then
    local known, known_digest = string.match(entry, '^(%x+) (%x+)$')
    if known and current(known) then
      if known_digest == by_digest then return refuse('known', known) else return refuse('conflict') end
    end
  end
end

local waiting = redis.call('ZCARD', overdue)
if waiting >= max_length then
  tend(100)
  waiting = redis.call('ZCARD', overdue)
  if waiting >= max_length then return refuse('full', retry_after(waiting)) end
end

if not admits(waiting, tonumber(ARGV[12])) then return refuse('overloaded', retry_after(waiting)) end

if client then
  redis.call('ZREMRANGEBYSCORE', client_key(client), '-inf', now)
  if redis.call('ZCARD', client_key(client)) >= tonumber(ARGV[11]) then return refuse('crowded', retry_after(waiting)) end
end

if redis.call('EXISTS', payload_key(id)) == 0 then return { 'bare' } end
local seq = redis.call('INCR', prefix .. 'seq')
redis.call('HSET', task_key(id), 'seq', seq, 'submitted', string.format('%.0f', now), 'delivery', 0, 'released', 0,
  'retries', 0)
if hash ~= '' then
  redis.call('HSET', task_key(id), 'key', hash)
  redis.call('SET', idempotency_key(hash), id .. ' ' .. digest)
end
if client then redis.call('HSET', task_key(id), 'client', client) end
if ARGV[13] ~= '' then redis.call('HSET', task_key(id), 'callback', ARGV[13]) end
if ARGV[14] ~= '' then redis.call('HSET', task_key(id), 'trace', ARGV[14]) end
if ARGV[15] ~= '' then redis.call('HSET', task_key(id), 'owner', ARGV[15]) end
wait({ id = id, seq = seq, submitted = now, key = hash ~= '' and hash, client = client }, 0)
return { 'new', id }
