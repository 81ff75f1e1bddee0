-- Set the next due time of members claimed before, unless somebody has set another meanwhile.
--
-- Keys: the sorted set
-- Arguments, common: time of the claim's end
-- Arguments, per member: member, next due time (ms; 0 removes it)
-- Result: how many were set
local set = 0
for i = 2, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) == ARGV[1] then
    if ARGV[i + 1] == '0' then
      redis.call('ZREM', KEYS[1], ARGV[i])
    else
      redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
    end
    set = set + 1
  end
end
return set
