-- Note which gateway and socket hold a recovery id: at connect, or when it is taken over.
--
-- Keys, per item: recover:{pid}
-- Arguments, common: gateway, SESSION_TTL (ms)
-- Arguments, per item: session, user ('' only takes over one that is there), version, socket
-- Result: per item {held, gateway before, socket before}; the two are empty when this one held it before, and
--   when that socket is known to be gone
local COMMON, ARGS_EACH = 2, 4
local gateway, ttl = ARGV[1], ARGV[2]

local results = {}
for item, key in ipairs(KEYS) do
  local a = COMMON + (item - 1) * ARGS_EACH
  local row = redis.call('HMGET', key, 'user', 'gateway', 'version', 'socket', 'lost')
  if not row[1] and ARGV[a + 2] == '' then
    results[item] = { 0, '', '' }
  else
    local old_gateway, old_socket = row[2] or '', row[4] or ''
    local is_repeat = old_gateway == gateway and row[3] == ARGV[a + 3]
    local is_lost = row[5]
    if not row[1] then
      redis.call('HSET', key, 'session', ARGV[a + 1], 'user', ARGV[a + 2])
    end
    if is_repeat then
      -- A repeated request must name the same socket to close as the first did.
      local noted = redis.call('HMGET', key, 'old_gateway', 'old_socket')
      old_gateway, old_socket = noted[1] or '', noted[2] or ''
    else
      if is_lost then
        -- There is nothing left to close.
        old_gateway, old_socket, is_lost = '', '', false
        redis.call('HDEL', key, 'lost')
      end
      redis.call('HSET', key, 'gateway', gateway, 'version', ARGV[a + 3], 'socket', ARGV[a + 4],
        'old_gateway', old_gateway, 'old_socket', old_socket)
    end
    if not is_lost then
      redis.call('PEXPIRE', key, ttl)
    end
    results[item] = { 1, old_gateway, old_socket }
  end
end
return results
