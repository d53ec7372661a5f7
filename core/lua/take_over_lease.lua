-- Replace the holder of a lease, if it is still the one that was seen, or nobody holds it any more.
-- KEYS: lease.  ARGV: the holder's value, the new value, TTL in ms.
-- Returns nothing where it was replaced, else the value of who holds it now.
local have = redis.call('GET', KEYS[1])
if have and have ~= ARGV[1] then return have end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
