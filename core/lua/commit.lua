-- Store entries, each unless history has overtaken its load.
-- KEYS: fence, log, entries.  ARGV: of each entry: stored form, TTL in ms, condition.
-- Conditions: those of replacing.lua, and "tail": the value is vouched for now, and is stamped with the log's end.
-- Returns for each: 1 stored; 0 there is a younger one, or the condition doesn't hold; -1 born in another epoch;
-- -2 born before the fence; -3 there is no fence that can be read (the log is lost).
local call, sub = redis.call, string.sub
local answers = {}
local fence = call('GET', KEYS[1])
if not fence or not string.match(fence, '^%x+:%d+%-%d+:') or #string.match(fence, '^%x+') ~= 16 then
  for at = 1, #KEYS - 2 do answers[at] = -3 end
  return answers
end
local epoch = string.gsub(sub(fence, 1, 16), '%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
local fence_ms, fence_seq = string.match(fence, '^%x+:(%d+)%-(%d+)')
fence_ms, fence_seq = tonumber(fence_ms), tonumber(fence_seq)

local tail  -- the epoch and the log's end, as they stand in a header
local function find_tail()
  local newest = call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if not newest then return nil end
  local ms, seq = string.match(newest[1], '(%d+)%-(%d+)')
  return epoch .. struct.pack('>I8I8', tonumber(ms), tonumber(seq))
end

local function commit(key, stored, ttl, condition)
  if sub(stored, 5, 12) ~= epoch then return -1 end
  local ms, seq = position(stored)
  if ms < fence_ms or (ms == fence_ms and seq < fence_seq) then return -2 end
  if not may_replace(key, stored, condition) then return 0 end
  call('SET', key, stored, 'PX', ttl)
  return 1
end

for at = 3, #KEYS do
  local given = (at - 3) * 3
  local key, stored, ttl, condition = KEYS[at], ARGV[given + 1], ARGV[given + 2], ARGV[given + 3]
  if condition ~= 'tail' then
    answers[at - 2] = commit(key, stored, ttl, condition)
  else
    tail = tail or find_tail()
    if tail then
      call('SET', key, stored, 'PX', ttl)
      call('SETRANGE', key, 4, tail)  -- cheaper than to put a new string together here
    end
    answers[at - 2] = tail and 1 or -3
  end
end
return answers
