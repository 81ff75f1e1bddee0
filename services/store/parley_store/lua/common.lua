-- Functions that every script begins with. The loader puts before them
--   local INCARNATION = '...'
-- the name of this server's present life: a script that carries it cannot run in another life, because
-- Redis forgets its scripts when it ends.
--
-- Numbers: Lua writes integers up to 14 digits exactly when it joins strings; all of ours are shorter.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The number of the newest entry of a stream whose ids are 0-n; 0 when it is empty.
local function newest(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and tonumber(string.sub(entry[1], 3)) or 0
end

-- The number of the newest entry that a stream was given, also when that has been taken out since.
local function last_given(stream)
  if redis.call('EXISTS', stream) == 0 then
    return 0
  end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      return tonumber(string.sub(info[i + 1], 3))
    end
  end
  return newest(stream)
end

-- The numbering kept in a hash (e: epoch, p: the epoch before, b: the number at the change, i: the
-- incarnation), given as it was read. A new epoch starts when Redis has begun another life since.
local function renumbered(hash, stream, fresh, epoch, before, base, incarnation)
  if epoch and incarnation == INCARNATION then
    return epoch, before, tonumber(base)
  end
  base = epoch and newest(stream) or 0
  before = epoch or ''
  redis.call('HSET', hash, 'e', fresh, 'p', before, 'b', base, 'i', INCARNATION)
  return fresh, before, base
end

local function numbering(hash, stream, fresh)
  return renumbered(hash, stream, fresh, unpack(redis.call('HMGET', hash, 'e', 'p', 'b', 'i')))
end

-- What an inbox's owner has with a peer: the epoch of the conversation, the last seq that is in the inbox,
-- the time of that message, the seq the owner has read, the seq the peer has read; all as text. Making
-- numbers of text and text of numbers is a good part of what a message costs Redis.
local function parse_peer(value)
  if not value then
    return nil
  end
  return string.match(value, '^(%x*):(%d+):(%d+):(%d+):(%d+)$')
end

-- Whether a place (epoch, number) is one of a numbering whose newest number is given.
local function known(place_epoch, place, epoch, before, base, last)
  if place_epoch == epoch then
    return place <= last
  end
  return place_epoch == before and before ~= '' and place <= base
end

-- Trim a stream to its limit, but nothing that is younger than `age_ms`, unless ten times the limit is
-- reached. `age_of` finds the time in an entry. Called at every 64th entry, so that it costs next to nothing.
local function trim(stream, last, limit, now, age_ms, time_of)
  if redis.call('XLEN', stream) <= limit then
    return
  end
  local oldest_kept = last - limit + 1
  local entry = redis.call('XRANGE', stream, '0-' .. oldest_kept, '+', 'COUNT', 1)[1]
  if entry and now - time_of(entry[2]) < age_ms then
    oldest_kept = last - 10 * limit + 1
  end
  if oldest_kept > 1 then
    redis.call('XTRIM', stream, 'MINID', '~', '0-' .. oldest_kept)
  end
end

-- Note with a user which gateways its presence hash names (gateway -> version; a tombstone's value begins
-- with '-'), so that a message finds them together with all else: 'g1 g2'.
local function note_gateways(user, presence)
  local found = {}
  local row = redis.call('HGETALL', presence)
  for i = 1, #row, 2 do
    if string.byte(row[i + 1]) ~= 45 then
      found[#found + 1] = row[i]
    end
  end
  redis.call('HSET', user, 'gateways', table.concat(found, ' '))
  return #found
end

-- Give a conversation the life that its rules (keep: its own retention, hold) or else CONVERSATION_TTL say.
local function live(stream, hash, rules, ttl)
  local keep, hold = unpack(redis.call('HMGET', rules, 'keep', 'hold'))
  local life = hold and 0 or tonumber(keep or ttl)
  for _, key in ipairs({ stream, hash }) do
    if life > 0 then
      redis.call('PEXPIRE', key, math.floor(life * 21 / 20))
    else
      redis.call('PERSIST', key)
    end
  end
end
