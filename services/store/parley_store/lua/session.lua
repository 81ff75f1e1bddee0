-- Find sessions, or make those that are not there.
--
-- Keys, per item: session:{s}
-- Arguments, common: SESSION_TTL (ms)
-- Arguments, per item: subject ('' none), user ('' only finds), username
-- Result: per item {found or made, user, username, made}; a session of another subject is not found
local COMMON, ARGS_EACH = 1, 3

local results = {}
for item, session in ipairs(KEYS) do
  local a = COMMON + (item - 1) * ARGS_EACH
  local row = redis.call('HMGET', session, 'user', 'name', 'subject')
  if row[1] then
    if (row[3] or '') == ARGV[a + 1] then
      redis.call('PEXPIRE', session, ARGV[1])
      results[item] = { 1, row[1], row[2], 0 }
    else
      results[item] = { 0, '', '', 0 }
    end
  elseif ARGV[a + 2] ~= '' then
    redis.call('HSET', session, 'user', ARGV[a + 2], 'name', ARGV[a + 3], 'subject', ARGV[a + 1])
    redis.call('PEXPIRE', session, ARGV[1])
    results[item] = { 1, ARGV[a + 2], ARGV[a + 3], 1 }
  else
    results[item] = { 0, '', '', 0 }
  end
end
return results
