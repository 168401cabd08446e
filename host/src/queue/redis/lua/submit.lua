-- Accepts a task. ARGV: id, sealed payload, hash of the idempotency key or empty, digest of the payload, longest line.
-- Yields {'new', id}, {'known', id}, {'conflict'} or {'full', milliseconds until there may be room}.
local id, payload, hash, digest, max_length = ARGV[6], ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])

if hash ~= '' then
  local entry = redis.call('GET', idempotency_key(hash))
  if entry then
    local known, known_digest = string.match(entry, '^(%x+) (%x+)$')
    if known and current(known) then
      if known_digest == digest then return { 'known', known } else return { 'conflict' } end
    end
  end
end

local waiting = redis.call('ZCARD', overdue)
if waiting >= max_length then
  tend(100)
  waiting = redis.call('ZCARD', overdue)
  if waiting >= max_length then return { 'full', retry_after(waiting) } end
end

local seq = redis.call('INCR', prefix .. 'seq')
redis.call('SET', payload_key(id), payload, 'PX', payload_ttl + SLACK)
redis.call('HSET', task_key(id), 'seq', seq, 'submitted', string.format('%.0f', now), 'delivery', 0, 'released', 0,
  'retries', 0)
if hash ~= '' then
  redis.call('HSET', task_key(id), 'key', hash)
  redis.call('SET', idempotency_key(hash), id .. ' ' .. digest)
end
wait({ id = id, seq = seq, submitted = now, key = hash ~= '' and hash }, 0)
return { 'new', id }
