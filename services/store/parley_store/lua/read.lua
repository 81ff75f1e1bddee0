-- Move read marks forward, and number each move as an event of the inbox.
--
-- A mark of a reader is kept on both sides of the conversation: with the reader under the peer's name, with
-- the peer under '<' and the reader's name. So a repeat completes the side that was missed.
--
-- Keys, per item: user:{u} inbox:{u} last:{u} presence:{u} read:{u}
-- Arguments, common: a fresh epoch, INBOX_LIMIT, age below which nothing is trimmed (ms)
-- Arguments, per item: reader, peer, seq, '1' when u is the reader
-- Result: per item {moved, seq now, counter, epoch, gateways}; moved -1 when there is no such user
local COMMON, KEYS_EACH, ARGS_EACH = 3, 5, 4
local fresh, limit, age = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()

local function time_of(fields)
  return tonumber(string.match(fields[2], '^%a %S+ %S+ (%d+)'))
end

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  local inbox, read = KEYS[k + 2], KEYS[k + 5]
  local reader, peer, seq = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  local other, field = peer, peer
  if ARGV[a + 4] ~= '1' then
    other, field = reader, '<' .. reader
  end
  if redis.call('EXISTS', KEYS[k + 1]) == 0 then
    results[item] = { -1, 0, 0, '', {} }
  else
    local epoch = numbering(KEYS[k + 1], inbox, fresh)
    -- Nobody has read what has not been written.
    local last = string.match(redis.call('HGET', KEYS[k + 3], other) or '', ':(%d+)$')
    seq = math.min(seq, tonumber(last or 0))
    local mark = tonumber(redis.call('HGET', read, field) or 0)
    if seq <= mark then
      results[item] = { 0, mark, 0, epoch, {} }
    else
      redis.call('HSET', read, field, seq)
      local entry = 'r ' .. reader .. ':' .. peer .. ' ' .. seq .. ' ' .. now .. ' 0 '
      local counter = tonumber(string.sub(redis.call('XADD', inbox, '0-*', 'e', entry), 3))
      local expires = redis.call('PEXPIRETIME', KEYS[k + 1])
      if expires > 0 then
        redis.call('PEXPIREAT', read, expires)
        redis.call('PEXPIREAT', inbox, expires)
      end
      if counter % 64 == 0 then
        trim(inbox, counter, limit, now, age, time_of)
      end
      results[item] = { 1, seq, counter, epoch, gateways_of(KEYS[k + 4]) }
    end
  end
end
return results
