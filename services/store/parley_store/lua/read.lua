-- Move read marks forward, and number each move as an event of the inbox.
--
-- A mark is kept on both sides of the conversation, as the reader's `read` and as the peer's `seen`. So a
-- repeat completes the side that was missed.
--
-- Keys, per item: user:{u} inbox:{u} peers:{u}
-- Arguments, common: a fresh epoch, INBOX_LIMIT, age below which nothing is trimmed (ms)
-- Arguments, per item: reader, peer, seq, '1' when u is the reader
-- Result: per item {moved, seq now, counter, epoch, gateways joined by spaces}
--   moved 1: as `counter`; 2: it had been moved so far before, `counter` is the newest; 0: nothing to tell
local COMMON, KEYS_EACH, ARGS_EACH = 3, 3, 4
local fresh, limit, age = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()

local function time_of(fields)
  return tonumber(string.match(fields[2], '^%a %S+ %S+ (%d+)'))
end

local results = {}
for item = 1, #KEYS / KEYS_EACH do
  local k, a = (item - 1) * KEYS_EACH, COMMON + (item - 1) * ARGS_EACH
  local key, inbox, peers = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local reader, peer, is_reader = ARGV[a + 1], ARGV[a + 2], ARGV[a + 4] == '1'
  local other = is_reader and peer or reader
  local epoch, last, at, read, seen = parse_peer(redis.call('HGET', peers, other))
  -- Nobody has read what has not been written.
  local seq = math.min(tonumber(ARGV[a + 3]), tonumber(last or 0))
  local mark = tonumber((is_reader and read or seen) or 0)
  if not epoch or seq < mark or seq == 0 or redis.call('EXISTS', key) == 0 then
    results[item] = { 0, mark, 0, '', '' }
  elseif seq == mark then
    local inbox_epoch = numbering(key, inbox, fresh)
    results[item] = { 2, mark, newest(inbox), inbox_epoch, redis.call('HGET', key, 'gateways') or '' }
  else
    -- In a conversation with oneself both marks are one.
    if is_reader then
      read = seq
    end
    if not is_reader or reader == peer then
      seen = seq
    end
    redis.call('HSET', peers, other, epoch .. ':' .. last .. ':' .. at .. ':' .. read .. ':' .. seen)
    local entry = 'r ' .. reader .. ':' .. peer .. ' ' .. seq .. ' ' .. now .. ' 0 '
    local inbox_epoch = numbering(key, inbox, fresh)
    local counter = tonumber(string.sub(redis.call('XADD', inbox, '0-*', 'e', entry), 3))
    if counter % 64 == 0 then
      trim(inbox, counter, limit, now, age, time_of)
    end
    results[item] = { 1, seq, counter, inbox_epoch, redis.call('HGET', key, 'gateways') or '' }
  end
end
return results
