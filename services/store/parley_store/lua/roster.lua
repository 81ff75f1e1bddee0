-- Apply presence changes to the roster: each is absolute, only a newer one counts.
--
-- Keys: {roster}:log {roster}:state {roster}:rank {roster}:names {roster}:meta {roster}:due
-- Arguments, common: a fresh epoch, MAXLEN of the log, time of the next routine check (ms from now)
-- Arguments, per change: user, username as JSON, case-folded username, state, presence version
-- Result: the roster's version
local COMMON, ARGS_EACH = 3, 5
local log, states, rank, names, meta, due = unpack(KEYS)
numbering(meta, log, ARGV[1])
local now = now_ms()

for item = 1, (#ARGV - COMMON) / ARGS_EACH do
  local a = COMMON + (item - 1) * ARGS_EACH
  local user, name, folded, state = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], tonumber(ARGV[a + 4])
  local version = tonumber(ARGV[a + 5])
  local packed = redis.call('HGET', states, user)
  local old = packed and cmsgpack.unpack(packed)
  local is_newer = state == -1 and old and old[3] < version or state ~= -1 and (not old or old[3] < version)
  if is_newer then
    if old and (state == -1 or old[4] ~= folded) then
      redis.call('ZREM', names, old[4] .. '\0' .. user)
    end
    local total = redis.call('ZCARD', rank)
    if state == -1 then
      redis.call('ZREM', rank, user)
      redis.call('ZREM', due, user)
      redis.call('HDEL', states, user)
      total = total - 1
      name = '""'
    else
      redis.call('ZADD', names, 0, folded .. '\0' .. user)
      -- Online users come first, then those who were here last.
      redis.call('ZADD', rank, version + (state == 1 and 1e13 or 0), user)
      if not old then
        total = total + 1
        -- From now on somebody looks after this user, whatever becomes of the gateway.
        redis.call('ZADD', due, 'NX', now + tonumber(ARGV[3]), user)
      end
    end
    local change = '["' .. user .. '",' .. name .. ',' .. state .. ',' .. total .. ']'
    local id = redis.call('XADD', log, 'MAXLEN', '~', ARGV[2], '0-*', 'd', change)
    if state ~= -1 then
      redis.call('HSET', states, user, cmsgpack.pack({ state, tonumber(string.sub(id, 3)), version, folded, name }))
    end
  end
end
return last_given(log)
