-- Let a block of one of its two users hold in a conversation, or no longer.
--
-- Keys: rules:{c}
-- Arguments: the user who blocks the other, '1' it holds or '0' it does not
-- Result: whether any block holds now (1 or 0)
local rules, field = KEYS[1], 'b:' .. ARGV[1]
if ARGV[2] == '1' then
  redis.call('HSET', rules, field, '1', 'blocked', '1')
  return 1
end
redis.call('HDEL', rules, field)
for _, name in ipairs(redis.call('HKEYS', rules)) do
  if string.sub(name, 1, 2) == 'b:' then
    return 1
  end
end
redis.call('HDEL', rules, 'blocked')
return 0
