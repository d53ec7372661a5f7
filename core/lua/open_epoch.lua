-- Open a new epoch of the log, unless the log already has one of this very run of the server.
-- KEYS: log, fence.  ARGV: epoch (16 hex digits), the server's run id, "look" to change nothing.
-- Returns the name of the epoch's group, and the fence: "<epoch>:<fence>:<floor>"; where one would have to be
-- opened and nothing may change, an empty name.
-- The epoch lives in the name of a consumer group on the log itself ("epoch:<epoch>:<run id>"): whatever
-- loses the log (flush, eviction) loses it too, trimming does not, and a restored snapshot brings it back
-- with the run id it was taken under. The floor is where the log begins by right: at its first record, or at
-- the last sweep's fence.
-- A fence that is no string, or lies beyond the log's last record, is a stranger's: an epoch is opened anew.
local fence = redis.pcall('GET', KEYS[2])
if type(fence) == 'table' then
  if ARGV[3] ~= 'look' then redis.call('DEL', KEYS[2]) end
  fence = false
end
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' and kind ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is no stream: is the prefix used by another program?')
end
local last = kind == 'stream' and redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if fence and last then
  local at = tonumber(string.match(fence, '^%x+:(%d+)%-%d+:[%d%-]*$'))
  if not at or at > tonumber(string.match(last[1], '^%d+')) then fence = false end
end
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
local old = {}
local floor = ''
if not groups.err then
  if fence then floor = string.match(fence, '^%x+:[%d%-]+:([%d%-]*)$') or '' end
  for _, group in ipairs(groups) do
    local name = group[2]
    if string.sub(name, 1, 6) == 'epoch:' then
      if string.sub(name, 24) == ARGV[2] and fence and string.sub(fence, 1, 16) == string.sub(name, 7, 22) then
        if redis.call('XLEN', KEYS[1]) == 0 and ARGV[3] ~= 'look' then
          redis.call('XADD', KEYS[1], '*', '_reason', 'so that readers find their place')
        end
        return {name, fence}
      end
      old[#old + 1] = name
    end
  end
end
if ARGV[3] == 'look' then return {'', fence or ''} end
local made = redis.call('XLEN', KEYS[1]) == 0
local id = redis.call('XADD', KEYS[1], '*', 'epoch', ARGV[1])
if made then floor = id end
for _, name in ipairs(old) do
  redis.call('XGROUP', 'DESTROY', KEYS[1], name)
end
local name = 'epoch:' .. ARGV[1] .. ':' .. ARGV[2]
redis.call('XGROUP', 'CREATE', KEYS[1], name, id)
fence = ARGV[1] .. ':' .. id .. ':' .. floor
redis.call('SET', KEYS[2], fence)
return {name, fence}
