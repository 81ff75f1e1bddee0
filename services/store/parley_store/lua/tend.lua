-- Remove what is older than a conversation's retention.
--
-- Keys, per item: messages:{c} conversation:{c} rules:{c}
-- Arguments: RETENTION (ms, 0: no limit)
-- Result: per item {state, in how many ms there will be something to remove (0: not by age), removed}
--   state 0 it is gone; 1 it is there; 2 it is gone, and there are rules for it
local KEYS_EACH, PAGE, PAGES = 3, 200, 50
local now = now_ms()

local function state_without(rules)
  local keep, hold, erased = unpack(redis.call('HMGET', rules, 'keep', 'hold', 'erased'))
  return (keep or hold or erased) and 2 or 0
end

local function tend(stream, hash, rules)
  if redis.call('EXISTS', stream) == 0 then
    redis.call('DEL', hash)
    return { state_without(rules), 0, 0 }
  end
  local keep, hold = unpack(redis.call('HMGET', rules, 'keep', 'hold'))
  local limit = tonumber(keep or ARGV[1])
  if hold or limit == 0 then
    return { 1, 0, 0 }
  end
  local removed = 0
  for _ = 1, PAGES do
    local entries = redis.call('XRANGE', stream, '-', '+', 'COUNT', PAGE)
    if #entries == 0 then
      -- The numbering ends with its last message, as when its life is over.
      redis.call('DEL', stream, hash)
      return { state_without(rules), 0, removed }
    end
    for _, entry in ipairs(entries) do
      local left = tonumber(entry[2][4]) + limit - now
      if left > 0 then
        removed = removed + redis.call('XTRIM', stream, 'MINID', entry[1])
        return { 1, left, removed }
      end
    end
    local last = tonumber(string.sub(entries[#entries][1], 3))
    removed = removed + redis.call('XTRIM', stream, 'MINID', '0-' .. (last + 1))
  end
  return { 1, 1, removed }
end

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k = (item - 1) * KEYS_EACH
  results[item] = tend(KEYS[k + 1], KEYS[k + 2], KEYS[k + 3])
end
return results
