-- Claim what is due in a sorted set of due times, so that no other store does it as well.
--
-- Keys: the sorted set
-- Arguments: how long the claim holds (ms), most members
-- Result: {time of the claim's end, {member...}}; whoever is not done by then is claimed again
local now = now_ms()
local until_ms = now + tonumber(ARGV[1])
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, member in ipairs(members) do
  redis.call('ZADD', KEYS[1], until_ms, member)
end
return { until_ms, members }
