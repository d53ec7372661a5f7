-- Store entries, each unless history has overtaken its load.
-- KEYS: fence, log, entries.  ARGV: of each entry: stored form, TTL in ms, condition.
-- Conditions: "" none; "tail": the value is vouched for now, and is stamped with the log's end;
-- "=<bytes>": the stored entry begins with these bytes ("=" alone: there is none).
-- Returns for each: 1 stored; 0 there is a younger one, or the condition doesn't hold; -1 born in another epoch;
-- -2 born before the fence; -3 there is no fence (the log is lost).
local answers = {}
local fence = redis.call('GET', KEYS[1])
if not fence then
  for at = 1, #KEYS - 2 do answers[at] = -3 end
  return answers
end
local epoch = string.gsub(string.sub(fence, 1, 16), '%x%x', function(pair) return string.char(tonumber(pair, 16)) end)
local fence_ms, fence_seq = string.match(fence, '^%x+:(%d+)%-(%d+)')
fence_ms, fence_seq = tonumber(fence_ms), tonumber(fence_seq)

local tail
local function stamp(stored)
  if not tail then
    local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    if not newest then return nil end
    local ms, seq = string.match(newest[1], '(%d+)%-(%d+)')
    tail = epoch .. struct.pack('>I8I8', tonumber(ms), tonumber(seq))
  end
  return string.sub(stored, 1, 4) .. tail .. string.sub(stored, 29)
end

local function commit(key, stored, ttl, condition)
  if condition == 'tail' then
    stored = stamp(stored)
    if not stored then return -3 end
    redis.call('SET', key, stored, 'PX', ttl)
    return 1
  end
  if string.sub(stored, 5, 12) ~= epoch then return -1 end
  local ms, seq = struct.unpack('>I8I8', string.sub(stored, 13, 28))
  if ms < fence_ms or (ms == fence_ms and seq < fence_seq) then return -2 end
  local have = redis.pcall('GETRANGE', key, 0, 27)
  if type(have) ~= 'string' then have = '' end
  if condition ~= '' and have ~= string.sub(condition, 2) then return 0 end
  if #have == 28 and string.sub(have, 1, 2) == 'SK' and string.sub(have, 5, 12) == epoch then
    local have_ms, have_seq = struct.unpack('>I8I8', string.sub(have, 13, 28))
    if have_ms > ms or (have_ms == ms and have_seq > seq) then return 0 end
  end
  redis.call('SET', key, stored, 'PX', ttl)
  return 1
end

for at = 3, #KEYS do
  local given = (at - 3) * 3
  answers[at - 2] = commit(KEYS[at], ARGV[given + 1], ARGV[given + 2], ARGV[given + 3])
end
return answers
