-- Append messages to their conversations, each at most once.
--
-- Keys, per message: messages:{c} conversation:{c} ids:{c}:0 ids:{c}:1 rules:{c}
-- Arguments, common: a fresh epoch, deadline (ms), HISTORY_LIMIT, CONVERSATION_TTL (ms, 0 keeps),
--   IDEMPOTENCY_WINDOW (ms), age below which nothing is trimmed (ms), '1' when a repeat must write
-- Arguments, per message: 'sender:id', digest of the content, the JSON object without its end (which is
--   seq and at: whoever reads it adds them), pid
-- Result: per message outcome, seq, at, epoch, epoch before, base, noted; all in one list
--   outcome 0 appended; 1 repeat; 2 the id belongs to another content; 3 repeat of a message whose
--   numbering has gone since (there is nothing left to deliver); 4 one of the two blocks the other;
--   5 one of the two is being erased
--   noted 0: the conversation must be noted with its users now; until then it has a short life
-- Error: LATE when the deadline has passed; then nothing was done.
local COMMON, KEYS_EACH, ARGS_EACH = 7, 5, 4
local fresh, deadline = ARGV[1], tonumber(ARGV[2])
local limit, ttl = tonumber(ARGV[3]), tonumber(ARGV[4])
local age, rewrite = tonumber(ARGV[6]), ARGV[7] == '1'
local now = now_ms()
local now_text = tostring(now)
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
-- generation of its ids; o: whether there is an older one; n: it is noted with its users.
local function conversation(stream, hash, older, rules)
  local c, x, g, o, e, p, b, i, n =
    unpack(redis.call('HMGET', hash, 'c', 'x', 'g', 'o', 'e', 'p', 'b', 'i', 'n'))
  local blocked, erased, keep, hold
  if redis.call('EXISTS', rules) == 1 then
    blocked, erased, keep, hold = unpack(redis.call('HMGET', rules, 'blocked', 'erased', 'keep', 'hold'))
  end
  local row = { created = c, older = o == '1', hold = hold == '1', noted = n and 1 or 0 }
  row.refused = erased and 5 or blocked and 4
  rows[hash] = row
  if row.refused and not c then
    row.epoch, row.before, row.base = '', '', 0
    return row
  end
  if not c then
    -- The numbering begins: whatever is left of an older one must not be taken for it.
    redis.call('DEL', stream)
    row.created = now_text .. fresh
    redis.call('HSET', hash, 'c', row.created)
    -- In case nothing is appended, as the id is known from an older numbering: then it goes by itself.
    redis.call('PEXPIRE', hash, 2 * length)
  end
  row.epoch, row.before, row.base = renumbered(hash, stream, fresh, e, p, b, i)
  if g ~= tostring(generation) then
    row.older = redis.call('EXISTS', older) == 1
    row.begins = true
  end
  -- Renewing at every message would be a third of the work; the twentieth that is added makes up for it.
  row.life = row.hold and 0 or tonumber(keep or ttl)
  if not n then
    -- Long enough that nobody repeats its messages when it has gone.
    local unnoted = 2 * length
    row.life = row.life > 0 and math.min(row.life, unnoted) or unnoted
  end
  if row.life > 0 and now - tonumber(x or 0) > row.life / 20 then
    row.renew = true
    -- Noted again with each renewal: what notes it may have been lost with another server's last writes.
    row.noted = 0
  end
  return row
end

-- Note an id in the newest generation; with the first, the generation begins.
local function note(row, hash, ids, field, entry)
  redis.call('HSET', ids, field, entry)
  if row.begins then
    row.begins = false
    redis.call('HSET', hash, 'g', generation, 'o', row.older and '1' or '0')
    redis.call('PEXPIREAT', ids, (generation + 2) * length - 1000)
  end
end

local results = {}

local function answer(outcome, seq, at, epoch, before, base, noted)
  local n = #results
  results[n + 1], results[n + 2], results[n + 3], results[n + 4] = outcome, seq, at, epoch
  results[n + 5], results[n + 6], results[n + 7] = before, base, noted
end

for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  local stream, hash = KEYS[k + 1], KEYS[k + 2]
  local ids, older = KEYS[k + 3 + current], KEYS[k + 3 + other]
  local field, digest = ARGV[a + 1], ARGV[a + 2]
  local row = rows[hash] or conversation(stream, hash, older, KEYS[k + 5])

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
      note(row, hash, ids, field, entry)
    end
    answer(outcome, tonumber(seq), tonumber(at), row.epoch, row.before, row.base, row.noted)
  elseif row.refused then
    answer(row.refused, 0, 0, '', '', 0, 1)
  else
    local id = redis.call('XADD', stream, '0-*', 'd', ARGV[a + 3], 'a', now_text, 'p', ARGV[a + 4])
    local number = string.sub(id, 3)
    local seq = tonumber(number)
    note(row, hash, ids, field, number .. ':' .. now_text .. ':' .. row.created .. ':' .. digest)
    if row.renew then
      row.renew = false
      -- Only now: a call that holds nothing but repeats must leave the renewal to the next message.
      redis.call('HSET', hash, 'x', now)
      redis.call('PEXPIRE', stream, math.floor(row.life * 21 / 20))
      redis.call('PEXPIRE', hash, math.floor(row.life * 21 / 20))
    end
    if seq % 64 == 0 and not row.hold then
      trim(stream, seq, limit, now, age, time_of)
    end
    answer(0, seq, now, row.epoch, row.before, row.base, row.noted)
  end
end
return results
