-- Note that a step of an erasure was done, unless another store has done so.
--
-- Keys: erasure:{j}
-- Arguments: the steps done before, (field, value)...
-- Result: 1, or 0 when it is further already
local done = redis.call('HGET', KEYS[1], 'step') or '0'
if done ~= ARGV[1] then
  return 0
end
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1
