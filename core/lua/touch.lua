-- Give an entry another time to live, if it is still the one that was looked at.
-- KEYS: entry.  ARGV: its first 28 bytes as they were seen, its new "fresh until" (8 bytes), TTL in ms.
-- Returns 1 if it was changed.
if redis.call('TYPE', KEYS[1]).ok ~= 'string' or redis.call('GETRANGE', KEYS[1], 0, 27) ~= ARGV[1] then
  return 0
end
redis.call('SETRANGE', KEYS[1], 36, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
