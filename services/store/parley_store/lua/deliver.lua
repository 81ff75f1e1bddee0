-- Put messages into inboxes: each conversation once, in the order of its seq, numbered by the inbox.
--
-- Keys, per item: user:{u} inbox:{u} peers:{u}
-- Arguments, common: a fresh epoch, deadline (ms), INBOX_LIMIT, CONTACTS_LIMIT, age below which nothing
--   is trimmed (ms)
-- Arguments, per item: peer, seq, the conversation's epoch, the one before, its base, at, '1' when the
--   user sent it, pid of the sending socket, the seq before the first that may be missing ('0': none may)
-- Result: per item outcome, counter, epoch, gateways joined by spaces, time; all in one list
--   outcome 0 taken as `counter`; 1 it is in already, `counter` is the newest; 2 a gap: the messages after
--   seq `counter` must come first, and what was stored up to `time` (ms) is in the inbox, should its
--   numbering have changed; 3 there is no such user
-- Error: LATE when the deadline has passed; then nothing was done.
local COMMON, KEYS_EACH, ARGS_EACH = 5, 3, 9
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

local function user(key, inbox)
  local e, p, b, i, gateways = unpack(redis.call('HMGET', key, 'e', 'p', 'b', 'i', 'gateways'))
  local row = false
  if e then
    row = { epoch = renumbered(key, inbox, fresh, e, p, b, i), gateways = gateways or '' }
  end
  users[key] = row
  return row
end

-- Twice as old as a message may be that is still filled in (NEWS_MS in gaps.py).
local SETTLED_MS = 120000

-- Keep the newest contacts only; some tenths more may gather, so that this is seldom done. Without what is
-- noted with a contact, its last messages would be taken for missing: so those of the last minutes stay,
-- unless ten times the limit is reached.
local function forget_contacts(peers)
  local count, tenth = redis.call('HLEN', peers), math.max(1, math.floor(contacts_limit / 10))
  if count < contacts_limit + tenth or count % tenth ~= 0 then
    return
  end
  local row, times = redis.call('HGETALL', peers), {}
  for i = 1, #row, 2 do
    local _, _, at = parse_peer(row[i + 1])
    times[#times + 1] = { tonumber(at), row[i] }
  end
  table.sort(times, function(one, other) return one[1] < other[1] end)
  for i = 1, #times - contacts_limit do
    if now - times[i][1] < SETTLED_MS and count < 10 * contacts_limit then
      return
    end
    redis.call('HDEL', peers, times[i][2])
  end
end

local results = {}

local function answer(outcome, counter, epoch, gateways, time)
  local n = #results
  results[n + 1], results[n + 2], results[n + 3] = outcome, counter, epoch
  results[n + 4], results[n + 5] = gateways, time
end

for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  local key, inbox, peers = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local peer, number, epoch, before = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local seq = tonumber(number)
  local row = users[key]
  if row == nil then
    row = user(key, inbox)
  end

  if not row then
    answer(3, 0, '', '', 0)
  else
    local known_epoch, known_last, since, read, seen = parse_peer(redis.call('HGET', peers, peer))
    local last, skip = tonumber(known_last or 0), ARGV[a + 9]
    local is_new, is_other, is_repeat = known_epoch == nil, false, false
    if known_epoch ~= epoch and known_epoch == before and before ~= '' then
      -- The same conversation, in another life of Redis: its numbers hold up to the change.
      local base = tonumber(ARGV[a + 5])
      last, read, seen = math.min(last, base), math.min(tonumber(read), base), math.min(tonumber(seen), base)
    elseif known_epoch ~= epoch then
      -- The first message of this numbering: older marks say nothing about it. It need not be number 1 that
      -- comes first: several stores may be at work. Only the times go on, so they tell a repeat.
      is_other = not is_new
      local at = tonumber(ARGV[a + 6])
      is_repeat = is_other and (at < tonumber(since) or (at == tonumber(since) and seq <= last))
      last, read, seen = 0, '0', '0'
    end
    if skip ~= '0' then
      last = math.max(last, tonumber(skip))
    end
    if is_repeat or seq <= last then
      answer(1, newest(inbox), row.epoch, row.gateways, 0)
    elseif seq > last + 1 then
      answer(2, last, row.epoch, '', is_other and tonumber(since) or 0)
    else
      local at, own = ARGV[a + 6], ARGV[a + 7]
      local entry = 'm ' .. peer .. ' ' .. number .. ' ' .. at .. ' ' .. own .. ' ' .. ARGV[a + 8]
      local counter = tonumber(string.sub(redis.call('XADD', inbox, '0-*', 'e', entry), 3))
      -- Who writes has read what is above.
      if own == '1' then
        read = number
      else
        seen = number
      end
      redis.call('HSET', peers, peer, epoch .. ':' .. number .. ':' .. at .. ':' .. read .. ':' .. seen)
      if is_new or counter == 1 then
        forget_contacts(peers)
        -- The keys that this may have made live as long as the user's others.
        local expires = redis.call('PEXPIRETIME', key)
        if expires > 0 then
          redis.call('PEXPIREAT', inbox, expires)
          redis.call('PEXPIREAT', peers, expires)
        end
      end
      if counter % 64 == 0 then
        trim(inbox, counter, limit, now, age, time_of)
      end
      answer(0, counter, row.epoch, row.gateways, 0)
    end
  end
end
return results
