-- Stamp an entry anew, if it is still the one that was stored.
-- KEYS: entry.  ARGV: its header as it was stored, the new stamp (epoch, position), where that stands.
-- Returns 1 if it is stamped, 0 if another stands there.
local key, header = KEYS[1], ARGV[1]
if redis.call('TYPE', key).ok ~= 'string' or redis.call('GETRANGE', key, 0, #header - 1) ~= header then return 0 end
redis.call('SETRANGE', key, ARGV[3], ARGV[2])
return 1
