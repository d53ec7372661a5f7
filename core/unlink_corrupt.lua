-- Unlink an entry if its bytes are still those that were looked at.
-- KEYS: the entry.  ARGV: the SHA-1 of its bytes.  Returns how many went.
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.sha1hex(redis.call('GET', KEYS[1])) == ARGV[1] then
  return redis.call('UNLINK', KEYS[1])
end
return 0
