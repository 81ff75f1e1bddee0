-- Have members of a sorted set of due times looked at after a while, or when they are due if that is sooner.
--
-- Keys: the sorted set
-- Arguments, common: in how long (ms)
-- Arguments: members...
-- Result: when (ms)
local at = now_ms() + tonumber(ARGV[1])
for i = 2, #ARGV do
  local due = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[i]) or at + 1)
  -- Never the same time: whoever has claimed the member meanwhile must find that it was set anew.
  redis.call('ZADD', KEYS[1], math.min(at, due - 1), ARGV[i])
end
return at
