-- Remove what a user's inbox and contacts say of another, who is being erased. The numbers stay as they are:
-- in the place of an event there is one that says nothing ('x').
--
-- Keys, per item: peers:{u} inbox:{u}
-- Arguments: the one who is being erased
-- Result: per item how many events were emptied
local KEYS_EACH = 2
local erased = ARGV[1]

local function is_about(text)
  local kind, peer = string.match(text, '^(%a) (%S+) ')
  if kind == 'r' then
    local reader, other = string.match(peer, '^(.*):(.*)$')
    return reader == erased or other == erased
  end
  return peer == erased
end

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k = (item - 1) * KEYS_EACH
  local inbox, emptied = KEYS[k + 2], 0
  redis.call('HDEL', KEYS[k + 1], erased)
  local entries = redis.call('XRANGE', inbox, '-', '+')
  for _, entry in ipairs(entries) do
    if is_about(entry[2][2]) then
      emptied = emptied + 1
      entry[2][2] = 'x - 0 ' .. string.match(entry[2][2], '^%a %S+ %S+ (%d+)') .. ' 0 '
    end
  end
  if emptied > 0 then
    -- An entry of a stream cannot be changed: it is written anew, under the same numbers.
    local life = redis.call('PTTL', inbox)
    redis.call('DEL', inbox)
    for _, entry in ipairs(entries) do
      redis.call('XADD', inbox, entry[1], 'e', entry[2][2])
    end
    if life > 0 then
      redis.call('PEXPIRE', inbox, life)
    end
  end
  results[item] = emptied
end
return results
