-- Stamp an entry anew, if it is still the one that was stored.
-- KEYS: entry.  ARGV: the SHA-1 of all of it as it was stored, the new stamp (epoch, position), where that stands.
-- Returns 1 if it is stamped, 0 if another stands there, -1 if nothing does.
-- A header is no identity: what another has loaded may have been born there, and stored in the same millisecond.
local there = redis.pcall('GET', KEYS[1])
if not there then return -1 end
if type(there) ~= 'string' or redis.sha1hex(there) ~= ARGV[1] then return 0 end
redis.call('SETRANGE', KEYS[1], ARGV[3], ARGV[2])
return 1
