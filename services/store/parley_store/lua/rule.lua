-- Set how long a conversation is kept, and whether a legal hold lies on it.
--
-- Keys: messages:{c} conversation:{c} rules:{c}
-- Arguments: retention (ms, 0 keeps, '-' none of its own, '' as it is), hold ('1', '0', '' as it is),
--   CONVERSATION_TTL (ms)
-- Result: {retention or '', hold 1 or 0, 1 when it is to be erased, which a hold had put off}
local stream, hash, rules = KEYS[1], KEYS[2], KEYS[3]
if ARGV[1] == '-' then
  redis.call('HDEL', rules, 'keep')
elseif ARGV[1] ~= '' then
  redis.call('HSET', rules, 'keep', ARGV[1])
end
if ARGV[2] == '1' then
  redis.call('HSET', rules, 'hold', '1')
  -- What may be a mark for a while only must stay now.
  redis.call('PERSIST', rules)
elseif ARGV[2] == '0' then
  redis.call('HDEL', rules, 'hold')
end
if ARGV[1] ~= '' or ARGV[2] ~= '' then
  live(stream, hash, rules, tonumber(ARGV[3]))
end
local keep, hold, erased = unpack(redis.call('HMGET', rules, 'keep', 'hold', 'erased'))
return { keep or '', hold and 1 or 0, (erased and not hold) and 1 or 0 }
