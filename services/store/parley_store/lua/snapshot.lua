-- Read the roster's position, and with it the users at the top of its ranking.
--
-- Keys: {roster}:log {roster}:state {roster}:rank {roster}:meta
-- Arguments: a fresh epoch, most users (0: the position alone)
-- Result: {epoch, epoch before, base, version, total, {user...}, {state...}}
local epoch, before, base = numbering(KEYS[4], KEYS[1], ARGV[1])
local most = tonumber(ARGV[2])
local users = most > 0 and redis.call('ZREVRANGE', KEYS[3], 0, most - 1) or {}
local states = {}
-- Lua can pass a few thousand values to a call, not any number.
for first = 1, #users, 1000 do
  local found = redis.call('HMGET', KEYS[2], unpack(users, first, math.min(first + 999, #users)))
  for _, state in ipairs(found) do
    states[#states + 1] = state
  end
end
return { epoch, before, base, last_given(KEYS[1]), redis.call('ZCARD', KEYS[3]), users, states }
