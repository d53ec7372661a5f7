-- Store an entry on a cluster, where the fence is another server's, unless history may have overtaken its load.
-- KEYS: entry.  ARGV: stored form, TTL in ms, condition, the latest time of this server's clock in unix ms.
-- Conditions: "" none; "tail": the value was vouched for now, and replaces any;
-- "=<bytes>": the stored entry begins with these bytes ("=" alone: there is none).
-- Returns 1 stored; 0 there is a younger one, or the condition doesn't hold; -2 it comes too late.
local now = redis.call('TIME')
if now[1] * 1000 + math.floor(now[2] / 1000) > tonumber(ARGV[4]) then return -2 end
local stored, condition = ARGV[1], ARGV[3]
if condition ~= 'tail' then
  local have = redis.pcall('GETRANGE', KEYS[1], 0, 27)
  if type(have) ~= 'string' then have = '' end
  if condition ~= '' and have ~= string.sub(condition, 2) then return 0 end
  if #have == 28 and string.sub(have, 1, 2) == 'SK' and string.sub(have, 5, 12) == string.sub(stored, 5, 12) then
    local ms, seq = struct.unpack('>I8I8', string.sub(stored, 13, 28))
    local have_ms, have_seq = struct.unpack('>I8I8', string.sub(have, 13, 28))
    if have_ms > ms or (have_ms == ms and have_seq > seq) then return 0 end
  end
end
redis.call('SET', KEYS[1], stored, 'PX', ARGV[2])
return 1
