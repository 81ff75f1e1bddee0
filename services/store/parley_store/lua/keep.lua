-- Give recovery ids that are in use their full life again.
--
-- Keys, per item: recover:{pid}
-- Arguments: SESSION_TTL (ms)
-- Result: per item 1, or 0 when there is none, or its socket is gone: its window runs, and no late request
--   may make it longer
local results = {}
for item, key in ipairs(KEYS) do
  results[item] = 0
  if redis.call('HEXISTS', key, 'lost') == 0 then
    results[item] = redis.call('PEXPIRE', key, ARGV[1])
  end
end
return results
