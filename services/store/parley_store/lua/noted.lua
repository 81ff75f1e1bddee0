-- Give conversations their full life, now that they are noted with their users.
--
-- Keys, per item: messages:{c} conversation:{c} rules:{c}
-- Arguments: CONVERSATION_TTL (ms, 0 keeps)
-- Result: per item 1, or 0 when there is no such conversation
local KEYS_EACH = 3

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k = (item - 1) * KEYS_EACH
  local stream, hash = KEYS[k + 1], KEYS[k + 2]
  if redis.call('EXISTS', hash) == 0 then
    results[item] = 0
  else
    if redis.call('HSET', hash, 'n', '1') == 1 then
      live(stream, hash, KEYS[k + 3], tonumber(ARGV[1]))
    end
    results[item] = 1
  end
end
return results
