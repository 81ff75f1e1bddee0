-- Strike users off a gateway's list, but not those whom it has enrolled again since.
--
-- Keys: sockets:{g}
-- Arguments: (version, user)...
-- Result: how many were struck off
local struck = 0
for i = 1, #ARGV, 2 do
  local version = redis.call('ZSCORE', KEYS[1], ARGV[i + 1])
  if version and tonumber(version) <= tonumber(ARGV[i]) then
    struck = struck + redis.call('ZREM', KEYS[1], ARGV[i + 1])
  end
end
return struck
