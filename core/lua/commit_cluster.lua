-- Store an entry on a cluster, where the fence is another server's, unless history may have overtaken its load.
-- KEYS: entry.  ARGV: stored form, TTL in ms, condition, the latest time of this server's clock in unix ms.
-- Conditions: those of replacing.lua, and "tail": the value was vouched for now, and replaces any.
-- Returns 1 stored; 0 there is a younger one, or the condition doesn't hold; -2 it comes too late.
if now_ms() > tonumber(ARGV[4]) then return -2 end
local stored, condition = ARGV[1], ARGV[3]
if condition ~= 'tail' and not may_replace(KEYS[1], stored, condition) then return 0 end
redis.call('SET', KEYS[1], stored, 'PX', ARGV[2])
return 1
