-- Take or renew a gateway's lease, and list all gateways that hold one.
--
-- Keys: {gateways}:leases {gateways}:info
-- Arguments: gateway, what it says of itself, '1' when it takes the lease for the first time
-- Result: {held, now, {gateway, beat...}, {gateway, info...}}
local now = now_ms()
local held = 0
if ARGV[3] == '1' or redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
  held = 1
end
return { held, now, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[2]) }
