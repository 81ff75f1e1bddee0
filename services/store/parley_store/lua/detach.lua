-- Take a gateway off users' presence, leaving a tombstone against requests that come late.
--
-- Keys, per item: user:{u} presence:{u}
-- Arguments, common: gateway
-- Arguments, per item: version up to which registrations are removed
-- Result: per item {registrations left, 1 when this removed one}
local COMMON, KEYS_EACH = 1, 2
local gateway = ARGV[1]
local now = now_ms()

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local user, presence = KEYS[(item - 1) * KEYS_EACH + 1], KEYS[(item - 1) * KEYS_EACH + 2]
  local version, removed = tonumber(ARGV[COMMON + item]), 0
  local noted = redis.call('HGET', presence, gateway)
  local gone = noted and string.match(noted, '^%-(%d+):')
  local is_newer = noted and tonumber(gone or noted) > version
  if redis.call('EXISTS', user) == 0 then
    results[item] = { 0, 0 }
  else
    if not is_newer then
      removed = (noted and not gone) and 1 or 0
      redis.call('HSET', presence, gateway, '-' .. ARGV[COMMON + item] .. ':' .. now)
      redis.call('PEXPIREAT', presence, math.max(redis.call('PEXPIRETIME', user), now + 1))
    end
    results[item] = { note_gateways(user, presence), removed }
  end
end
return results
