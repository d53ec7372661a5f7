-- Store an entry, unless history has overtaken its load.
-- KEYS: entry, fence.  ARGV: stored form, TTL in ms, epoch (16 hex digits), born ms, born seq.
-- Returns 1 stored; 0 there is a younger one; -1 born in another epoch; -2 born before the fence;
-- -3 there is no fence (the log is lost).
local fence = redis.call('GET', KEYS[2])
if not fence then return -3 end
if string.sub(fence, 1, 16) ~= ARGV[3] then return -1 end
local ms, seq = tonumber(ARGV[4]), tonumber(ARGV[5])
local fence_ms, fence_seq = string.match(fence, '^%x+:(%d+)%-(%d+)')
fence_ms, fence_seq = tonumber(fence_ms), tonumber(fence_seq)
if ms < fence_ms or (ms == fence_ms and seq < fence_seq) then return -2 end
local have = redis.call('GETRANGE', KEYS[1], 0, 27)
if #have == 28 and string.sub(have, 1, 2) == 'SK' and string.sub(have, 5, 12) == string.sub(ARGV[1], 5, 12) then
  local have_ms, have_seq = struct.unpack('>I8I8', string.sub(have, 13, 28))
  if have_ms > ms or (have_ms == ms and have_seq > seq) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
