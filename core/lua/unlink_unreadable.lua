-- Unlink what nobody can read, if it is still what was looked at.
-- KEYS: entry.  ARGV: its first bytes as they were seen, its length.  Returns 1 if it went.
local key = KEYS[1]
if redis.call('TYPE', key).ok ~= 'string' or redis.call('STRLEN', key) ~= tonumber(ARGV[2]) then return 0 end
if redis.call('GETRANGE', key, 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
return redis.call('UNLINK', key)
