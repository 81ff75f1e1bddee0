-- Strike off what was noted of a conversation that is gone, unless it was noted again since.
--
-- Keys, per item: conversations:{u}
-- Arguments, per item: the other user, when it was noted as far as is known
-- Result: per item 1 when it is off
local results = {}
for item, key in ipairs(KEYS) do
  local peer = ARGV[2 * item - 1]
  local noted = redis.call('ZSCORE', key, peer)
  results[item] = 1
  if noted and tonumber(noted) > tonumber(ARGV[2 * item]) then
    results[item] = 0
  elseif noted then
    redis.call('ZREM', key, peer)
  end
end
return results
