-- What nodes tell each other beside tasks, put before the scripts that need it.
--
-- KEYS[1]   '{name}': the hash tag, as in ledger.lua.
-- ARGV[6-]  what the script itself needs; those before are for scripts about tasks.
--
-- {name}:fleet                  hash: number (counts notices); now:SLOT and before:SLOT, 'NUMBER DIGEST NOTICE' of the notice that
--                               stands and of the one that it replaced
-- {name}:fleet:nodes            all nodes, by when they spoke last (ms); {name}:fleet:node-reports what each said
-- {name}:fleet:packages         the digests of all packages that notices name
-- {name}:fleet:package:DIGEST   hash: the package's pieces, by their number
-- {name}:fleet:reports:NUMBER   hash: what each node says of a notice; with ':rejected', the nodes that rejected it
--
-- Published on '{name}:events': '!' when a notice was posted or withdrawn.

local prefix = KEYS[1] .. ':'
local fleet = prefix .. 'fleet'
local SLOTS = { 'gateway', 'analyzer', 'scorer' }
-- A package that no notice names any more may be fetched for so long (s): a node may be reading it.
local LINGER = 3600

local function time()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

local function tell() redis.call('PUBLISH', prefix .. 'events', '!') end

-- Lets packages live as long as a notice names them.
local function sweep()
  local named = {}
  for _, slot in ipairs(SLOTS) do
    for _, field in ipairs({ 'now:', 'before:' }) do
      local notice = redis.call('HGET', fleet, field .. slot)
      if notice then named[string.match(notice, '^%d+ (%x+) ')] = true end
    end
  end
  for _, digest in ipairs(redis.call('SMEMBERS', fleet .. ':packages')) do
    if named[digest] then
      redis.call('PERSIST', fleet .. ':package:' .. digest)
    else
      redis.call('EXPIRE', fleet .. ':package:' .. digest, LINGER)
      redis.call('SREM', fleet .. ':packages', digest)
    end
  end
end

-- Takes a notice back, and yields at how many slots it stood.
local function withdraw(number)
  local count = 0
  for _, slot in ipairs(SLOTS) do
    local now = redis.call('HGET', fleet, 'now:' .. slot)
    if now and string.match(now, '^%d+') == number then
      count = count + 1
      local before = redis.call('HGET', fleet, 'before:' .. slot)
      redis.call('HDEL', fleet, 'before:' .. slot)
      if before then
        redis.call('HSET', fleet, 'now:' .. slot, before)
      else
        redis.call('HDEL', fleet, 'now:' .. slot)
      end
    end
  end
  sweep()
  if count > 0 then tell() end
  return count
end
