-- Start the recovery window of sockets that are gone, unless another has taken over meanwhile.
--
-- Keys, per item: recover:{pid}
-- Arguments, common: gateway, RECOVERY_WINDOW (ms)
-- Arguments, per item: socket ('' whichever the gateway holds)
-- Result: per item 1 when the window runs or has run out; 2 when another gateway holds the id; 0 when another
--   socket of this one does
local results = {}
for item, key in ipairs(KEYS) do
  local row = redis.call('HMGET', key, 'gateway', 'socket')
  local socket = ARGV[2 + item]
  if not row[1] then
    results[item] = 1
  elseif row[1] ~= ARGV[1] then
    results[item] = 2
  elseif socket == '' or row[2] == socket then
    redis.call('HSET', key, 'lost', '1')
    -- A repeat must not make the window longer.
    redis.call('PEXPIRE', key, ARGV[2], 'LT')
    results[item] = 1
  else
    results[item] = 0
  end
end
return results
