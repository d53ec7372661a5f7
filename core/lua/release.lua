-- Give a key back, if it still is the holder's.
-- KEYS: lock.  ARGV: the holder's value.  Returns 1 where it was held.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])
