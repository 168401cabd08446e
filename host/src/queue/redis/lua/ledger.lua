-- The rules of the queue, put before every script. A script runs alone on the server: what it does is one transaction.
--
-- KEYS[1]   '{name}': the hash tag that keeps all keys of a queue on one node of a cluster, and the prefix of them all.
-- ARGV[1]   now, in milliseconds since the epoch; empty: by the server's own clock. Only tests tell the time.
-- ARGV[2-5] lease (ms), tries, time-to-live of results (ms), longest wait of a task from its submission (ms).
-- ARGV[6-]  what the script itself needs.
--
-- {name}:task:ID    hash: phase (W waiting, R running, S success, F failure, X revoked), seq, submitted, delivery, released,
--                   retries, and where there are such: node, error, key, client, owner, trace, outcome (JSON), callback (the sealed address
--                   that its end is told to), attempts (to tell it; the fence)
-- {name}:payload:ID the sealed photographs
-- {name}:key:HASH   'ID DIGEST' of the task that an idempotency key yields
-- {name}:ready      tasks that are due, by the order of their submission
-- {name}:delayed    tasks that wait for their next try, by when they are due
-- {name}:overdue    all tasks that wait, by when they have waited for too long
-- {name}:client:HASH the waiting ones of one client, likewise; one that nobody takes out is so left out in time
-- {name}:running    by when the lease runs out
-- {name}:ended      by when the task is forgotten
-- {name}:dead       those of the ended that were given up, likewise
-- {name}:kept       those of the dead whose photographs are still there, by when they are deleted
-- {name}:callbacks  those of the ended whose end is yet to be told, by when the next attempt may begin
-- {name}:node:NAME  what a node runs
-- {name}:seq, {name}:drain, {name}:fingerprint, {name}:clock   the last task's place in line, how fast the queue drains,
--                   which key the photographs are sealed with, and the queue's time
-- {name}:limits     those that the last node to join went by (JSON), for who only visits
--
-- Published on '{name}:events': the id of a task that has ended or whose lease was lost; '+N' when N tasks became due;
-- '@' when there is an end to be told.
--
-- The sets decide when something happens. The server's own expiry is a net below them, for what no node is left to tend,
-- and therefore comes later by SLACK.

local prefix = KEYS[1] .. ':'
local lease, most_tries = tonumber(ARGV[2]), tonumber(ARGV[3])
local result_ttl, payload_ttl = tonumber(ARGV[4]), tonumber(ARGV[5])
local SLACK = 60000

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
-- The queue's time never goes back, or no lease would run out and no try come due until the clock is where it was. When the
-- clock is set back, time goes on from where it was, ahead of the clock by 'offset'. What is ahead is given back when the
-- clock jumps forward. That is not told from a time in which no node was there: then all waits last longer by so much, once.
-- 'last' is written once a second, for a queue that is only looked at should write little.
do
  local known = redis.call('HMGET', prefix .. 'clock', 'last', 'offset')
  local last, offset = tonumber(known[1]) or 0, tonumber(known[2]) or 0
  local before = offset
  now = now + offset
  if now < last - 1000 then
    offset = offset + last - now
  elseif now > last + 60000 then
    offset = math.max(offset - (now - last), 0)
  end
  now = math.max(now + offset - before, last)
  if offset ~= before or now >= last + 1000 then
    redis.call('HSET', prefix .. 'clock', 'last', string.format('%.0f', now), 'offset', string.format('%.0f', offset))
  end
end

local ready, delayed, overdue = prefix .. 'ready', prefix .. 'delayed', prefix .. 'overdue'
local running, ended = prefix .. 'running', prefix .. 'ended'
local dead, kept = prefix .. 'dead', prefix .. 'kept'
local callbacks = prefix .. 'callbacks'

local function task_key(id) return prefix .. 'task:' .. id end
local function payload_key(id) return prefix .. 'payload:' .. id end
local function idempotency_key(hash) return prefix .. 'key:' .. hash end
local function client_key(hash) return prefix .. 'client:' .. hash end
local function node_key(node) return prefix .. 'node:' .. node end

local function tell(message) redis.call('PUBLISH', prefix .. 'events', message) end

-- Reads a task; nil when there is none.
local function load(id)
  local f = redis.call('HMGET', task_key(id),
    'phase', 'seq', 'submitted', 'delivery', 'released', 'retries', 'node', 'error', 'key', 'outcome', 'client')
  if not f[1] then return nil end
  return {
    id = id, phase = f[1], seq = f[2], submitted = tonumber(f[3]), delivery = tonumber(f[4]), released = tonumber(f[5]),
    retries = tonumber(f[6]), node = f[7], error = f[8], key = f[9], outcome = f[10],
    client = f[11],
  }
end

-- Deliveries that count: none that was given back unused, nor one before an operator opened the task again.
local function tries(task) return task.delivery - task.released end

-- Sets the net below a task: it and its idempotency key live for another `ms` at least.
local function keep(task, ms)
  redis.call('PEXPIRE', task_key(task.id), ms + SLACK)
  if task.key then redis.call('PEXPIRE', idempotency_key(task.key), ms + SLACK) end
end

-- From now on there is something to do, if there was not before.
local function work() redis.call('HSETNX', prefix .. 'drain', 'from', string.format('%.0f', now)) end

-- From now on there is nothing to do, if nothing runs or is due.
local function rest()
  if redis.call('ZCARD', running) == 0 and redis.call('ZCARD', ready) == 0 then redis.call('HDEL', prefix .. 'drain', 'from') end
end

-- Takes a task out of the sets of its phase.
local function leave(task)
  if task.phase == 'W' then
    redis.call('ZREM', ready, task.id)
    redis.call('ZREM', delayed, task.id)
    redis.call('ZREM', overdue, task.id)
    if task.client then redis.call('ZREM', client_key(task.client), task.id) end
  elseif task.phase == 'R' then
    redis.call('ZREM', running, task.id)
    redis.call('SREM', node_key(task.node), task.id)
  end
end

-- For how much longer (ms) the payload of a task that was given up is kept; -1 when there is none.
local function payload_left(task)
  local at = redis.call('ZSCORE', kept, task.id)
  if not at or tonumber(at) <= now or redis.call('EXISTS', payload_key(task.id)) == 0 then return -1 end
  return tonumber(at) - now
end

-- Deletes the address that a task's end is told to, unless the task may be opened again or is yet to be told of.
local function drop_callback(id)
  if not redis.call('ZSCORE', kept, id) and not redis.call('ZSCORE', callbacks, id) then
    redis.call('HDEL', task_key(id), 'callback')
  end
end

-- Ends a task: S, F or X. `outcome` is JSON, or nil for what was revoked. The payload goes, but for a task that is given up
-- before its time.
local function finish(task, phase, outcome, given_up)
  leave(task)
  rest()
  if given_up and task.submitted + payload_ttl > now then
    redis.call('ZADD', kept, task.submitted + payload_ttl, task.id)
  else
    redis.call('DEL', payload_key(task.id))
  end
  if outcome then
    redis.call('HSET', task_key(task.id), 'phase', phase, 'outcome', outcome)
  else
    redis.call('HSET', task_key(task.id), 'phase', phase)
  end
  redis.call('ZADD', ended, now + result_ttl, task.id)
  if given_up then redis.call('ZADD', dead, now + result_ttl, task.id) end
  keep(task, result_ttl)
  if phase ~= 'X' and redis.call('HGET', task_key(task.id), 'callback') then
    redis.call('ZADD', callbacks, now, task.id)
    tell('@')
  end
  drop_callback(task.id)
  tell(task.id)
  task.phase, task.outcome = phase, outcome or false
end

local function fail(task, code, message, given_up)
  finish(task, 'F', cjson.encode({ failure = { code = code, message = message } }), given_up)
end

local function time_out(task)
  fail(task, 'timeout', string.format(
    'the task waited longer than %d s for a worker; send the photographs again later', math.floor(payload_ttl / 1000)))
end

-- Puts a task in line, now or after `delay`.
local function wait(task, delay)
  redis.call('HSET', task_key(task.id), 'phase', 'W')
  redis.call('ZADD', overdue, task.submitted + payload_ttl, task.id)
  if task.client then
    redis.call('ZADD', client_key(task.client), task.submitted + payload_ttl, task.id)
    redis.call('PEXPIRE', client_key(task.client), payload_ttl + SLACK)
  end
  if delay > 0 then
    redis.call('ZADD', delayed, now + delay, task.id)
  else
    redis.call('ZADD', ready, task.seq, task.id)
    work()
    tell('+1')
  end
  keep(task, math.max(task.submitted + payload_ttl - now, 0) + result_ttl)
  task.phase = 'W'
end

-- Takes a running task back, or gives it up when it was tried too often. `why` is nil when the try does not count.
local function give_back(task, delay, why)
  leave(task)
  if why then
    task.error = why
    redis.call('HSET', task_key(task.id), 'error', why)
  end
  if tries(task) >= most_tries then
    -- It has left its sets; `finish` must not look for it there.
    task.phase = ''
    fail(task, 'processing_failed', string.format('given up after %d tries; the last one failed with: %s',
      tries(task), task.error or 'unknown'), true)
  else
    wait(task, delay)
    rest()
    tell(task.id)
  end
end

-- Removes all traces of a task, also of one that the server itself has expired.
local function forget(id, task)
  if task and task.key then redis.call('DEL', idempotency_key(task.key)) end
  redis.call('DEL', task_key(id), payload_key(id))
  for _, set in ipairs({ ready, delayed, overdue, running, ended, dead, kept, callbacks }) do redis.call('ZREM', set, id) end
  rest()
end

-- Whether the moment has come that a set holds for a task.
local function is_due(set, id)
  local at = redis.call('ZSCORE', set, id)
  return not at or tonumber(at) <= now
end

-- Reads a task after all has happened to it that time does by itself.
local function current(id)
  local task = load(id)
  if not task then return nil end
  if task.phase == 'R' and is_due(running, id) then give_back(task, 0, 'the worker stopped answering') end
  if task.phase == 'W' and is_due(overdue, id) then time_out(task) end
  if task.phase ~= 'R' and task.phase ~= 'W' and is_due(ended, id) then
    forget(id, task)
    return nil
  end
  local until_then = task.phase == 'F' and redis.call('ZSCORE', kept, id)
  if until_then and tonumber(until_then) <= now then
    redis.call('DEL', payload_key(id))
    redis.call('ZREM', kept, id)
    drop_callback(id)
  end
  return task
end

-- The task, if this delivery of it is running.
local function held(id, delivery)
  local task = current(id)
  if task and task.phase == 'R' and string.format('%d', task.delivery) == delivery then return task end
  return nil
end

-- Whether this attempt to tell of a task's end is the newest.
local function telling(id, attempt)
  return current(id) and redis.call('ZSCORE', callbacks, id) and redis.call('HGET', task_key(id), 'attempts') == attempt
end

-- Does what time does by itself, for at most `most` tasks of each set. True when that was all.
local function tend(most)
  local all = true
  for _, set in ipairs({ running, overdue, ended, kept }) do
    local ids = redis.call('ZRANGE', set, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
    for _, id in ipairs(ids) do
      if not current(id) then forget(id) end
    end
    all = all and #ids < most
  end
  local ids = redis.call('ZRANGE', delayed, '-inf', now, 'BYSCORE', 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    redis.call('ZREM', delayed, id)
    local seq = redis.call('HGET', task_key(id), 'seq')
    if seq then redis.call('ZADD', ready, seq, id) else forget(id) end
  end
  if #ids > 0 then
    work()
    rest()
    tell('+' .. #ids)
  end
  return all and #ids < most
end

-- In how many milliseconds there is something to tend; -1: nothing is foreseen.
local function next_event()
  local soonest = -1
  for _, set in ipairs({ running, overdue, ended, kept, delayed }) do
    local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
    if first[2] then
      local left = math.max(tonumber(first[2]) - now, 0)
      if soonest < 0 or left < soonest then soonest = left end
    end
  end
  return soonest
end

-- The rate at which tasks are settled is an exponentially weighted moving average over about this long (ms), on a clock that
-- runs only while there is something to do: a quiet hour says nothing of how fast tasks are done. 'from' is since when there
-- has been something to do and the average knows nothing of it, 'seen' how long there was before. Before anything was settled,
-- the rate is taken for one task in FIRST. `embedded/drain.rs` counts in the same way.
local WINDOW, FIRST = 10000, 1000
-- The part of the age that is promised to tasks; the rest is for the errors of the guess.
local PROMISED = 0.8

-- The average as of when it was last changed, the time that it had seen then, and the time since.
local function drain()
  local f = redis.call('HMGET', prefix .. 'drain', 'rate', 'seen', 'from')
  local gap = f[3] and math.max(now - tonumber(f[3]), 0) or 0
  if not f[2] then return 1000 / WINDOW, FIRST, gap end
  return tonumber(f[1]), tonumber(f[2]), gap
end

-- Counts one task that is about to be settled.
local function count_settled()
  local rate, seen, gap = drain()
  redis.call('HSET', prefix .. 'drain', 'rate', string.format('%.17g', rate * math.exp(-gap / WINDOW) + 1000 / WINDOW),
    'seen', string.format('%.0f', seen + gap), 'from', string.format('%.0f', now))
end

-- Tasks a second.
local function per_second()
  local rate, seen, gap = drain()
  -- An average that began at zero is too low by the weight of the time before it began.
  return rate * math.exp(-gap / WINDOW) / (1 - math.exp(-(seen + gap) / WINDOW))
end

-- In how many milliseconds a client that was refused should come back: when a tenth of the line is done, so that those who
-- come back find room instead of fighting for one place. Between 1 and 60 seconds.
local function retry_after(waiting)
  return math.floor(math.min(math.max(math.max(waiting / 10, 1) / per_second() * 1000, 1000), 60000))
end

-- Whether one more task will have ended before it is older than this (ms; 0: that does not matter). An empty line always takes
-- one: whether it is done in time, nobody can tell before.
local function admits(waiting, max_age)
  if max_age == 0 or waiting == 0 then return true end
  return waiting + redis.call('ZCARD', running) + 1 <= per_second() * max_age / 1000 * PROMISED
end
