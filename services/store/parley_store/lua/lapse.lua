-- End leases, and put their gateways on the list of those to be reaped.
--
-- Keys: {gateways}:leases {gateways}:info {gateways}:reaping
-- Arguments: age (ms) at which a lease has lapsed, or a gateway that gives its own back ('' none)
-- Result: the gateways whose lease ended
local now = now_ms()
local ended = {}
if ARGV[2] ~= '' then
  ended = { ARGV[2] }
else
  ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[1]))
end
for _, gateway in ipairs(ended) do
  redis.call('ZREM', KEYS[1], gateway)
  redis.call('HDEL', KEYS[2], gateway)
  redis.call('ZADD', KEYS[3], now, gateway)
end
return ended
