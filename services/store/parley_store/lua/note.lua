-- Note with users that they have a conversation, so that it is found by whoever looks for all of a user's.
--
-- Keys, per item: conversations:{u} erased:{u}
-- Arguments, per item: the other user
-- Result: per item 1; 0 when the user is being erased, and nothing was noted
local KEYS_EACH = 2
local now = now_ms()

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k = (item - 1) * KEYS_EACH
  if redis.call('EXISTS', KEYS[k + 2]) == 1 then
    results[item] = 0
  else
    redis.call('ZADD', KEYS[k + 1], now, ARGV[item])
    results[item] = 1
  end
end
return results
