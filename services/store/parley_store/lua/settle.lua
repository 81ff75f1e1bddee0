-- Say what a user's presence is now, and note when it has become offline.
--
-- Keys, per item: user:{u} presence:{u}
-- Result: per item {state, name, presence version, expires (ms since the epoch), gateways joined by spaces, now}
--   state 1 online, 0 offline, -1 there is no such user
local KEYS_EACH = 2
local now = now_ms()

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local user, presence = KEYS[(item - 1) * KEYS_EACH + 1], KEYS[(item - 1) * KEYS_EACH + 2]
  local row = redis.call('HMGET', user, 'name', 'on', 'v')
  if not row[1] then
    results[item] = { -1, '', now, 0, '', now }
  else
    local count, changed = note_gateways(user, presence), tonumber(row[3] or 0)
    local gateways = redis.call('HGET', user, 'gateways')
    local state = count > 0 and 1 or 0
    if state == 0 and row[2] == '1' then
      changed = math.max(changed + 1, now)
      redis.call('HSET', user, 'on', '0', 'v', changed)
    end
    results[item] = { state, row[1], changed, redis.call('PEXPIRETIME', user), gateways, now }
  end
end
return results
