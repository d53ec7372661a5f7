-- Give a lease back, and tell who waits for it.
-- KEYS: lease; its name is also the channel on which is told.
-- ARGV: the holder's value, what is told ('1' the load's result is stored, '0' it is not), the command that tells.
-- Returns 1 where it was still held.
local held = redis.call('GET', KEYS[1]) == ARGV[1]
if held then redis.call('UNLINK', KEYS[1]) end
-- Whoever lost its lease tells of what it stored all the same; of a failure its successor's waiters need not know.
if held or ARGV[2] == '1' then redis.pcall(ARGV[3], KEYS[1], ARGV[2]) end
return held and 1 or 0
