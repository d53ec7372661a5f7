-- Add to a counter, which begins at 0 and lives for its TTL from then on.
-- KEYS: counter.  ARGV: how much, TTL in ms.  Returns the new count, as text: Lua's own numbers are inexact above 2^53.
redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
