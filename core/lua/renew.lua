-- Hold a key for longer, if it still is the holder's.
-- KEYS: lease or lock.  ARGV: the holder's value, TTL in ms.  Returns 1 where it is held.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
