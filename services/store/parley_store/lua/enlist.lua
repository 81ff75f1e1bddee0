-- Note sessions and recovery ids with their users, before they are made.
--
-- Keys, per item: sessions:{u} recoveries:{u} erased:{u}
-- Arguments, common: life (ms) of a session, of the two keys; most sessions of a user, most recovery ids
-- Arguments, per item: session, recovery id ('' none)
-- Result: per item {done, session that is one too many...}
--   done 0: the user is being erased, and nothing was noted
local COMMON, KEYS_EACH, ARGS_EACH = 4, 3, 2
local life, ttl = tonumber(ARGV[1]), ARGV[2]
local most_sessions, most_pids = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  local sessions, pids = KEYS[k + 1], KEYS[k + 2]
  if redis.call('EXISTS', KEYS[k + 3]) == 1 then
    results[item] = { 0 }
  else
    local result = { 1 }
    -- Sessions in use are renewed well before this.
    redis.call('ZREMRANGEBYSCORE', sessions, '-inf', now - life)
    redis.call('ZADD', sessions, now, ARGV[a + 1])
    local over = redis.call('ZCARD', sessions) - most_sessions
    if over > 0 then
      -- They stay in the index until they have ended: whoever ends them may fail half-way.
      for _, member in ipairs(redis.call('ZRANGE', sessions, 0, over - 1)) do
        result[#result + 1] = member
      end
    end
    redis.call('PEXPIRE', sessions, ttl)
    if ARGV[a + 2] ~= '' then
      redis.call('ZREMRANGEBYSCORE', pids, '-inf', now - life)
      redis.call('ZADD', pids, now, ARGV[a + 2])
      redis.call('ZREMRANGEBYRANK', pids, 0, -most_pids - 1)
    end
    redis.call('PEXPIRE', pids, ttl)
    results[item] = result
  end
end
return results
