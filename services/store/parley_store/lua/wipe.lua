-- Remove conversations of a user who is being erased, but for those under a legal hold.
--
-- Keys, per item: messages:{c} conversation:{c} ids:{c}:0 ids:{c}:1 rules:{c}
-- Arguments: how long (ms) nothing more may be appended ('0': that is over, and the mark goes too)
-- Result: per item 1 when a hold keeps it (then nothing is appended to it any more), else 0
local KEYS_EACH = 5

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k = (item - 1) * KEYS_EACH
  local rules = KEYS[k + 5]
  if redis.call('HEXISTS', rules, 'hold') == 1 then
    redis.call('HSET', rules, 'erased', '1')
    results[item] = 1
  else
    for i = 1, KEYS_EACH do
      redis.call('DEL', KEYS[k + i])
    end
    if ARGV[1] ~= '0' then
      redis.call('HSET', rules, 'erased', '1')
      redis.call('PEXPIRE', rules, ARGV[1])
    end
    results[item] = 0
  end
end
return results
