-- Have users' presence checked after a while.
--
-- Keys: {roster}:due
-- Arguments, common: in how long (ms)
-- Arguments: users...
-- Result: when (ms)
local at = now_ms() + tonumber(ARGV[1])
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], at, ARGV[i])
end
return at
