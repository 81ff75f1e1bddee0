-- Register a gateway with users, make users that are not there yet, and say where their inboxes stand.
--
-- Keys, per item: user:{u} presence:{u} inbox:{u} peers:{u}
-- Arguments, common: a fresh epoch, gateway, SESSION_TTL (ms), age at which a tombstone goes (ms),
--   '1' to return the contacts
-- Arguments, per item: version, username ('' when only a known user may be attached), epoch and counter of
--   a place that must be good ('' and 0: any)
-- Result: per item {outcome, name, presence version, epoch, counter, {peer, what is noted...}}
--   outcome 0 registered; 1 no such user; 2 a newer detach, or the gateway's end, forbids it; 3 registered,
--   but the place's numbering is gone
local COMMON, KEYS_EACH, ARGS_EACH = 5, 4, 4
local fresh, gateway, ttl = ARGV[1], ARGV[2], ARGV[3]
local age, with_contacts = tonumber(ARGV[4]), ARGV[5] == '1'
local now = now_ms()

local function forget_tombstones(presence)
  local row = redis.call('HGETALL', presence)
  for i = 1, #row, 2 do
    local at = string.match(row[i + 1], '^%-%d+:(%d+)$')
    if at and now - tonumber(at) > age then
      redis.call('HDEL', presence, row[i])
    end
  end
end

-- Register the gateway, unless what is noted of it is newer.
local function register(presence, version)
  local noted = redis.call('HGET', presence, gateway)
  if noted then
    local gone = string.match(noted, '^%-(%d+):')
    if gone and tonumber(gone) >= version then
      return false
    end
    if not gone and tonumber(noted) >= version then
      return true
    end
  end
  redis.call('HSET', presence, gateway, version)
  return true
end

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  local user, presence, inbox = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local version, name = tonumber(ARGV[a + 1]), ARGV[a + 2]
  local row = redis.call('HMGET', user, 'name', 'on', 'v')
  if not row[1] and name == '' then
    results[item] = { 1, '', 0, '', 0, {} }
  else
    if not row[1] then
      redis.call('HSET', user, 'name', name)
      -- Only this user's presence may be older than the user: tombstones of gateways that are gone.
      redis.call('DEL', inbox, KEYS[k + 4])
    end
    local epoch, before, base = numbering(user, inbox, fresh)
    local counter = newest(inbox)
    forget_tombstones(presence)
    local outcome = register(presence, version) and 0 or 2
    note_gateways(user, presence)
    local changed = tonumber(row[3] or 0)
    local renamed = name ~= '' and row[1] and row[1] ~= name
    if outcome == 0 and (row[2] ~= '1' or renamed) then
      changed = math.max(changed + 1, now)
      redis.call('HSET', user, 'on', '1', 'v', changed)
      if name ~= '' then
        redis.call('HSET', user, 'name', name)
      end
    end
    for i = 1, KEYS_EACH do
      redis.call('PEXPIRE', KEYS[k + i], ttl)
    end
    local place_epoch = ARGV[a + 3]
    if outcome == 0 and place_epoch ~= ''
      and not known(place_epoch, tonumber(ARGV[a + 4]), epoch, before, base, counter) then
      outcome = 3
    end
    local peers = with_contacts and redis.call('HGETALL', KEYS[k + 4]) or {}
    results[item] = { outcome, name ~= '' and name or row[1], changed, epoch, counter, peers }
  end
end
return results
