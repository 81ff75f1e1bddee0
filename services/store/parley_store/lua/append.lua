-- Append messages to their conversations, each at most once.
--
-- Keys, per message: messages:{c} conversation:{c} ids:{c}:0 ids:{c}:1
-- Arguments, common: a fresh epoch, deadline (ms), HISTORY_LIMIT, CONVERSATION_TTL (ms, 0 keeps),
--   IDEMPOTENCY_WINDOW (ms), age below which nothing is trimmed (ms), '1' when a repeat must write
-- Arguments, per message: 'sender:id', digest of the content, the JSON object without its end, pid, socket
-- Result: per message {outcome, seq, at, epoch, epoch before, base}
--   outcome 0 appended; 1 repeat; 2 the id belongs to another content; 3 repeat of a message whose
--   numbering has gone since (there is nothing left to deliver)
-- Error: LATE when the deadline has passed; then nothing was done.
local COMMON, KEYS_EACH, ARGS_EACH = 7, 4, 5
local fresh, deadline = ARGV[1], tonumber(ARGV[2])
local limit, ttl, window = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local age, rewrite = tonumber(ARGV[6]), ARGV[7] == '1'
local now = now_ms()
if now > deadline then
  return redis.error_reply('LATE the deadline has passed')
end
-- Ids live in two generations: what is written in one is still found in the next, then expires.
local generation = math.floor(now / window)
local current, other = generation % 2, (generation + 1) % 2

local function time_of(fields)
  return tonumber(string.match(fields[2], '"at":(%d+)}$'))
end

local rows = {}

local function conversation(stream, hash)
  local row = rows[hash]
  if row then
    return row
  end
  local found = redis.call('HMGET', hash, 'c', 'x')
  local created, renewed = found[1], tonumber(found[2] or 0)
  if not created then
    -- The numbering begins: whatever is left of an older one must not be taken for it.
    redis.call('DEL', stream)
    created = now .. fresh
    redis.call('HSET', hash, 'c', created)
  end
  local epoch, before, base = numbering(hash, stream, fresh)
  -- Renewing at every message would be a third of the work; the twentieth that is added makes up for it.
  if ttl > 0 and now - renewed > ttl / 20 then
    redis.call('HSET', hash, 'x', now)
    row = { created, epoch, before, base, true }
  else
    row = { created, epoch, before, base, false }
  end
  rows[hash] = row
  return row
end

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  local stream, hash = KEYS[k + 1], KEYS[k + 2]
  local ids, older = KEYS[k + 3 + current], KEYS[k + 3 + other]
  local field, digest = ARGV[a + 1], ARGV[a + 2]
  local row = conversation(stream, hash)

  local found = redis.call('HMGET', ids, 'g', field)
  local entry = found[2]
  if found[1] ~= tostring(generation) then
    entry = nil
    redis.call('DEL', ids)
    redis.call('HSET', ids, 'g', generation)
    redis.call('PEXPIREAT', ids, (generation + 2) * window)
  end
  if not entry then
    found = redis.call('HMGET', older, 'g', field)
    if found[1] == tostring(generation - 1) then
      entry = found[2]
    end
  end

  if entry then
    local seq, at, created, stored = string.match(entry, '^(%d+):(%d+):([^:]*):(.*)$')
    local outcome = 1
    if stored ~= digest then
      outcome = 2
    elseif created ~= row[1] then
      outcome = 3
    end
    if rewrite then
      redis.call('HSET', ids, field, entry)
    end
    results[item] = { outcome, tonumber(seq), tonumber(at), row[2], row[3], row[4] }
  else
    -- seq is known before the entry is written, because it is the next number and nobody else runs now.
    local seq = (row.last or newest(stream)) + 1
    redis.call('XADD', stream, '0-' .. seq, 'd', ARGV[a + 3] .. ',"seq":' .. seq .. ',"at":' .. now .. '}',
      'p', ARGV[a + 4], 's', ARGV[a + 5])
    row.last = seq
    redis.call('HSET', ids, field, seq .. ':' .. now .. ':' .. row[1] .. ':' .. digest)
    if row[5] then
      row[5] = false
      redis.call('PEXPIRE', stream, math.floor(ttl * 21 / 20))
      redis.call('PEXPIRE', hash, math.floor(ttl * 21 / 20))
    end
    if seq % 64 == 0 then
      trim(stream, seq, limit, now, age, time_of)
    end
    results[item] = { 0, seq, now, row[2], row[3], row[4] }
  end
end
return results
