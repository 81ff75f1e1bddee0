-- Note on a gateway which users and recovery ids it is about to hold, if it still lives.
--
-- Keys: gateway:{g} sockets:{g} pids:{g}
-- Arguments: number of users, (version, user)..., pids...
-- Result: 1, or 0 when the gateway's lease has lapsed (its stream is gone)
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local users = tonumber(ARGV[1])
for i = 2, 2 * users, 2 do
  redis.call('ZADD', KEYS[2], 'GT', ARGV[i], ARGV[i + 1])
end
for i = 2 * users + 2, #ARGV do
  redis.call('SADD', KEYS[3], ARGV[i])
end
-- They go with the lease; this is for the case that nobody is left to end it.
local life = redis.call('PTTL', KEYS[1])
if life > 0 then
  redis.call('PEXPIRE', KEYS[2], life)
  redis.call('PEXPIRE', KEYS[3], life)
end
return 1
