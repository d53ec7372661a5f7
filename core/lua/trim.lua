-- Trim the log up to the fence, tell readers, and note the log's new floor; all or nothing.
-- KEYS: log, fence.  ARGV: epoch (16 hex digits), where to (a record's id), the servers that were gone over
-- (of a cluster, with commas between; else empty).
-- Returns how many records went, or -1 when the epoch or the record is gone.
local fence = redis.call('GET', KEYS[2])
if not fence or string.sub(fence, 1, 16) ~= ARGV[1] then return -1 end
if #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) == 0 then return -1 end
local gone = redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
if ARGV[3] == '' then
  redis.call('XADD', KEYS[1], '*', '_swept', ARGV[2])
else
  redis.call('XADD', KEYS[1], '*', '_swept', ARGV[2], '_nodes', ARGV[3])
end
local position = string.match(fence, '^%x+:([%d%-]+)')
redis.call('SET', KEYS[2], ARGV[1] .. ':' .. position .. ':' .. ARGV[2])
return gone
