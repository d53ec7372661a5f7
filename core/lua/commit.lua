-- Store entries, each unless history has overtaken its load.
-- KEYS: fence, log, entries.  ARGV: of each entry: stored form, TTL in ms, condition.
-- Conditions: "" none; "tail": the value is vouched for now, and is stamped with the log's end;
-- "=<bytes>": the stored entry begins with these bytes ("=" alone: there is none).
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

local function position(bytes)
  return struct.unpack('>I8I8', bytes)
end

local tail  -- the epoch and the log's end, as they stand in a header
local function find_tail()
  local newest = call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if not newest then return nil end
  local ms, seq = string.match(newest[1], '(%d+)%-(%d+)')
  return epoch .. struct.pack('>I8I8', tonumber(ms), tonumber(seq))
end

local function commit(key, stored, ttl, condition)
  if sub(stored, 5, 12) ~= epoch then return -1 end
  local born = sub(stored, 13, 28)
  local ms, seq = position(born)
  if ms < fence_ms or (ms == fence_ms and seq < fence_seq) then return -2 end
  local have = redis.pcall('GETRANGE', key, 0, 27)
  if type(have) ~= 'string' then have = '' end
  if condition ~= '' and have ~= sub(condition, 2) then return 0 end
  if #have == 28 and sub(have, 13, 28) ~= born and sub(have, 1, 2) == 'SK' and sub(have, 5, 12) == epoch then
    local have_ms, have_seq = position(sub(have, 13, 28))
    if have_ms > ms or (have_ms == ms and have_seq > seq) then return 0 end
  end
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
