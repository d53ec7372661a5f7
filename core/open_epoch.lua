-- Open a new epoch of the log, unless the log already has one of this very run of the server.
-- KEYS: log, fence.  ARGV: epoch (16 hex digits), the server's run id.
-- The epoch lives in the name of a consumer group on the log itself ("epoch:<epoch>:<run id>"): whatever
-- loses the log (flush, eviction) loses it too, trimming does not, and a restored snapshot brings it back
-- with the run id it was taken under. Returns the group's name and the fence.
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
local old = {}
if not groups.err then
  for _, group in ipairs(groups) do
    local name = group[2]
    if string.sub(name, 1, 6) == 'epoch:' then
      if string.sub(name, 24) == ARGV[2] and redis.call('EXISTS', KEYS[2]) == 1 then
        if redis.call('XLEN', KEYS[1]) == 0 then
          redis.call('XADD', KEYS[1], '*', '_reason', 'so that readers find their place')
        end
        return {name, redis.call('GET', KEYS[2])}
      end
      old[#old + 1] = name
    end
  end
elseif redis.call('EXISTS', KEYS[1]) == 1 and redis.call('TYPE', KEYS[1]).ok ~= 'stream' then
  redis.call('UNLINK', KEYS[1])
end
local id = redis.call('XADD', KEYS[1], '*', 'epoch', ARGV[1])
for _, name in ipairs(old) do
  redis.call('XGROUP', 'DESTROY', KEYS[1], name)
end
local name = 'epoch:' .. ARGV[1] .. ':' .. ARGV[2]
redis.call('XGROUP', 'CREATE', KEYS[1], name, id)
redis.call('SET', KEYS[2], ARGV[1] .. ':' .. id)
return {name, ARGV[1] .. ':' .. id}
