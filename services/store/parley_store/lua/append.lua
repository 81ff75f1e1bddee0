-- Append messages to their conversations, each at most once.
--
-- Keys, per message: messages:{c} conversation:{c} ids:{c}:0 ids:{c}:1
-- Arguments, common: a fresh epoch, deadline (ms), HISTORY_LIMIT, CONVERSATION_TTL (ms, 0 keeps),
--   IDEMPOTENCY_WINDOW (ms), age below which nothing is trimmed (ms), '1' when a repeat must write
-- Arguments, per message: 'sender:id', digest of the content, the JSON object without its end (which is
--   seq and at: whoever reads it adds them), pid
-- Result: per message {outcome, seq, at, epoch, epoch before, base}
--   outcome 0 appended; 1 repeat; 2 the id belongs to another content; 3 repeat of a message whose
--   numbering has gone since (there is nothing left to deliver)
-- Error: LATE when the deadline has passed; then nothing was done.
local COMMON, KEYS_EACH, ARGS_EACH = 7, 4, 4
local fresh, deadline = ARGV[1], tonumber(ARGV[2])
local limit, ttl = tonumber(ARGV[3]), tonumber(ARGV[4])
local age, rewrite = tonumber(ARGV[6]), ARGV[7] == '1'
local now = now_ms()
if now > deadline then
  return redis.error_reply('LATE the deadline has passed')
end
-- Ids live in two generations in turn: what is written in one is still found in the next. A generation's
-- hash expires a second before its name is used again, and a generation is that second longer.
local length = tonumber(ARGV[5]) + 1000
local generation = math.floor(now / length)
local current, other = generation % 2, (generation + 1) % 2

local function time_of(fields)
  return tonumber(fields[4])
end

local rows = {}

-- What is kept of a conversation. c: when it was created; x: when its life was renewed; g: the newest
-- generation of its ids; o: whether there is an older one.
local function conversation(stream, hash, older)
  local c, x, g, o, e, p, b, i = unpack(redis.call('HMGET', hash, 'c', 'x', 'g', 'o', 'e', 'p', 'b', 'i'))
  local row = { created = c, older = o == '1' }
  if not c then
    -- The numbering begins: whatever is left of an older one must not be taken for it.
    redis.call('DEL', stream)
    row.created = now .. fresh
    redis.call('HSET', hash, 'c', row.created)
  end
  row.epoch, row.before, row.base = renumbered(hash, stream, fresh, e, p, b, i)
  if g ~= tostring(generation) then
    row.older = redis.call('EXISTS', older) == 1
    row.begins = true
    redis.call('HSET', hash, 'g', generation, 'o', row.older and '1' or '0')
  end
  -- Renewing at every message would be a third of the work; the twentieth that is added makes up for it.
  if ttl > 0 and now - tonumber(x or 0) > ttl / 20 then
    redis.call('HSET', hash, 'x', now)
    row.renew = true
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
  local row = rows[hash] or conversation(stream, hash, older)

  local entry = redis.call('HGET', ids, field)
  if not entry and row.older then
    entry = redis.call('HGET', older, field)
  end

  if entry then
    local seq, at, created, stored = string.match(entry, '^(%d+):(%d+):([^:]*):(.*)$')
    local outcome = 1
    if stored ~= digest then
      outcome = 2
    elseif created ~= row.created then
      outcome = 3
    end
    if rewrite then
      redis.call('HSET', ids, field, entry)
    end
    results[item] = { outcome, tonumber(seq), tonumber(at), row.epoch, row.before, row.base }
  else
    local id = redis.call('XADD', stream, '0-*', 'd', ARGV[a + 3], 'a', now, 'p', ARGV[a + 4])
    local seq = tonumber(string.sub(id, 3))
    redis.call('HSET', ids, field, seq .. ':' .. now .. ':' .. row.created .. ':' .. digest)
    if row.begins then
      row.begins = false
      redis.call('PEXPIREAT', ids, (generation + 2) * length - 1000)
    end
    if row.renew then
      row.renew = false
      redis.call('PEXPIRE', stream, math.floor(ttl * 21 / 20))
      redis.call('PEXPIRE', hash, math.floor(ttl * 21 / 20))
    end
    if seq % 64 == 0 then
      trim(stream, seq, limit, now, age, time_of)
    end
    results[item] = { 0, seq, now, row.epoch, row.before, row.base }
  end
end
return results
