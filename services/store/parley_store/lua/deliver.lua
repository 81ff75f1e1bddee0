-- Put messages into inboxes: each conversation once, in the order of its seq, numbered by the inbox.
--
-- Keys, per item: user:{u} inbox:{u} last:{u} presence:{u} contacts:{u} read:{u}
-- Arguments, common: a fresh epoch, deadline (ms), INBOX_LIMIT, CONTACTS_LIMIT, age below which nothing
--   is trimmed (ms)
-- Arguments, per item: peer, seq, the conversation's epoch, the one before, its base, at, '1' when the
--   user sent it, pid of the sending socket, the seq before the first that may be missing ('0': none may)
-- Result: per item {outcome, counter, epoch, gateways}
--   outcome 0 taken as `counter`; 1 it is in already, `counter` is the newest; 2 a gap: the messages after
--   seq `counter` must come first; 3 there is no such user
-- Error: LATE when the deadline has passed; then nothing was done.
local COMMON, KEYS_EACH, ARGS_EACH = 5, 6, 9
local fresh, deadline = ARGV[1], tonumber(ARGV[2])
local limit, contacts_limit, age = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = now_ms()
if now > deadline then
  return redis.error_reply('LATE the deadline has passed')
end

local function time_of(fields)
  return tonumber(string.match(fields[2], '^%a %S+ %S+ (%d+)'))
end

local users = {}

local function user(key, inbox, presence)
  local row = users[key]
  if row == nil then
    row = false
    if redis.call('EXISTS', key) == 1 then
      local epoch, before = numbering(key, inbox, fresh)
      row = { epoch, gateways_of(presence), before }
    end
    users[key] = row
  end
  return row
end

-- The last seq of a conversation that is in the inbox, by the numbering the conversation has now; nil when
-- that is another one than the inbox knows.
local function last_of(value, epoch, before, base)
  if not value then
    return nil
  end
  local known_epoch, seq = string.match(value, '^(.*):(%d+)$')
  if known_epoch == epoch then
    return tonumber(seq)
  end
  if known_epoch == before and before ~= '' then
    return math.min(tonumber(seq), base)
  end
  return nil
end

-- Give the keys that this first event made the life of the user's others.
local function follow_life(k)
  local expires = redis.call('PEXPIRETIME', KEYS[k + 1])
  if expires > 0 then
    for i = 2, KEYS_EACH do
      redis.call('PEXPIREAT', KEYS[k + i], expires)
    end
  end
end

-- Keep the newest contacts only, with what is noted about each.
local function forget_contacts(k)
  local excess = redis.call('ZCARD', KEYS[k + 5]) - contacts_limit
  if excess > 0 then
    for _, peer in ipairs(redis.call('ZRANGE', KEYS[k + 5], 0, excess - 1)) do
      redis.call('ZREM', KEYS[k + 5], peer)
      redis.call('HDEL', KEYS[k + 3], peer)
      redis.call('HDEL', KEYS[k + 6], peer, '<' .. peer)
    end
  end
end

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  local inbox, last, contacts, read = KEYS[k + 2], KEYS[k + 3], KEYS[k + 5], KEYS[k + 6]
  local peer, seq, epoch = ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3]
  local own, skip_to = ARGV[a + 7] == '1', tonumber(ARGV[a + 9])
  local row = user(KEYS[k + 1], inbox, KEYS[k + 4])

  if not row then
    results[item] = { 3, 0, '', {} }
  else
    local before_seq = last_of(redis.call('HGET', last, peer), epoch, ARGV[a + 4], tonumber(ARGV[a + 5]))
    if before_seq == nil then
      -- The first message of this numbering: an older read mark says nothing about it.
      -- All before this one may be missing: two who write to each other for the first time at once.
      redis.call('HDEL', read, peer, '<' .. peer)
      before_seq = 0
    end
    before_seq = math.max(before_seq, skip_to)
    if seq <= before_seq then
      results[item] = { 1, newest(inbox), row[1], row[2] }
    elseif seq > before_seq + 1 then
      results[item] = { 2, before_seq, row[1], {} }
    else
      local entry = 'm ' .. peer .. ' ' .. seq .. ' ' .. ARGV[a + 6] .. ' ' .. ARGV[a + 7] .. ' ' .. ARGV[a + 8]
      local id = redis.call('XADD', inbox, '0-*', 'e', entry)
      local counter = tonumber(string.sub(id, 3))
      redis.call('HSET', last, peer, epoch .. ':' .. seq)
      if own then
        redis.call('HSET', read, peer, seq)
      end
      local is_new = redis.call('ZADD', contacts, ARGV[a + 6], peer) == 1
      if is_new or counter == 1 then
        follow_life(k)
        forget_contacts(k)
      end
      if counter % 64 == 0 then
        trim(inbox, counter, limit, now, age, time_of)
      end
      results[item] = { 0, counter, row[1], row[2] }
    end
  end
end
return results
