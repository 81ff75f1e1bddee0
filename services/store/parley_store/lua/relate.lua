-- Change whom a user has blocked and muted.
--
-- Keys: relations:{u} user:{u}
-- Arguments: peer, '1' to block, '0' to unblock, '' to leave that; the same for mute; most relations
-- Result: {done, flags, gateways joined by spaces}; flags hold 'b' (blocked) and 'm' (muted)
--   done 0: there are too many already, and nothing was changed
local relations, peer = KEYS[1], ARGV[1]
local flags = redis.call('HGET', relations, peer)
local known = flags and true or false
flags = flags or ''

local function with(flag, wanted)
  if wanted == '' then
    return string.find(flags, flag) and flag or ''
  end
  return wanted == '1' and flag or ''
end

local changed = with('b', ARGV[2]) .. with('m', ARGV[3])
local done = 1
if changed == '' then
  redis.call('HDEL', relations, peer)
elseif not known and redis.call('HLEN', relations) >= tonumber(ARGV[4]) then
  done = 0
else
  redis.call('HSET', relations, peer, changed)
end
return { done, changed, redis.call('HGET', KEYS[2], 'gateways') or '' }
