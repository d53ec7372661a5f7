-- Unlink entries, each only if it is still the one that was looked at.
-- KEYS: entries.  ARGV: of each, its first 28 bytes as they were seen.  Returns how many went.
local gone = 0
for at, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == 'string' and redis.call('GETRANGE', key, 0, 27) == ARGV[at] then
    gone = gone + redis.call('UNLINK', key)
  end
end
return gone
