-- Read the events of an inbox after a place.
--
-- Keys, per item: user:{u} inbox:{u}
-- Arguments, common: a fresh epoch, most entries
-- Arguments, per item: the place's epoch and counter
-- Result: per item {outcome, epoch, counter now, entries as {counter, text}}
--   outcome 0 the entries follow the place without a gap; 1 no such user; 2 the place's numbering is gone;
--   3 the place is ahead of the inbox; 4 the inbox does not reach back to it
local COMMON, KEYS_EACH, ARGS_EACH = 2, 2, 2

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  if redis.call('EXISTS', KEYS[k + 1]) == 0 then
    results[item] = { 1, '', 0, {} }
  else
    local epoch, before, base = numbering(KEYS[k + 1], KEYS[k + 2], ARGV[1])
    local counter, after = newest(KEYS[k + 2]), tonumber(ARGV[a + 2])
    if not known(ARGV[a + 1], after, epoch, before, base, counter) then
      local ahead = ARGV[a + 1] == epoch
      results[item] = { ahead and 3 or 2, epoch, counter, {} }
    else
      local found = redis.call('XRANGE', KEYS[k + 2], '0-' .. (after + 1), '+', 'COUNT', ARGV[2])
      local entries, next_counter, outcome = {}, after + 1, 0
      for i, entry in ipairs(found) do
        local number = tonumber(string.sub(entry[1], 3))
        if number ~= next_counter then
          outcome = 4
          break
        end
        next_counter = next_counter + 1
        entries[i] = { number, entry[2][2] }
      end
      if #found == 0 and after < counter then
        outcome = 4
      end
      results[item] = { outcome, epoch, counter, outcome == 0 and entries or {} }
    end
  end
end
return results
