-- End leases, and put their gateways on the list of those to be reaped.
--
-- A beat that is missing says something about a gateway only if it could have been taken: every look is noted,
-- and after a pause between looks (Redis was frozen, restarted or took no writes, or there was no store) the
-- waiting begins anew. Redis itself keeps count, as a look may run long after its store has given it up.
--
-- Keys: {gateways}:leases {gateways}:info {gateways}:reaping {gateways}:looks
-- Arguments: age (ms) at which a lease has lapsed, or a gateway that gives its own back ('' none)
-- Result: the gateways whose lease ended
local now = now_ms()
local ended = {}
if ARGV[2] ~= '' then
  ended = { ARGV[2] }
else
  local age = tonumber(ARGV[1])
  local looks = redis.call('HMGET', KEYS[4], 'last', 'since')
  local last, since = tonumber(looks[1] or 0), tonumber(looks[2] or 0)
  if now - last > age / 3 then
    since = now
    redis.call('HSET', KEYS[4], 'last', now, 'since', since)
  elseif now - last > age / 12 then
    redis.call('HSET', KEYS[4], 'last', now)
  end
  if now - since >= age then
    ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - age)
  end
end
for _, gateway in ipairs(ended) do
  redis.call('ZREM', KEYS[1], gateway)
  redis.call('HDEL', KEYS[2], gateway)
  redis.call('ZADD', KEYS[3], now, gateway)
end
return ended
