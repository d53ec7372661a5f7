-- Add to a counter, which begins at 0 and lives for its TTL from then on.
-- KEYS: counter.  ARGV: how much, TTL in ms.  Returns the new count.
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return count
