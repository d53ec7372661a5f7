-- What both commits begin with: whether an entry may take the place of what is stored.
-- Conditions: "" none; "=<bytes>": what is stored begins with these bytes ("=" alone: nothing is stored);
-- "<<bytes>": so it does, and it is fresh no longer by this server's clock: of clocks that differ, one must decide.
-- Without a condition, only an entry of the same epoch that was born later stands in the way.
local function position(header)
  return struct.unpack('>I8I8', string.sub(header, 13, 28))
end

local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local function may_replace(key, stored, condition)
  local have = redis.pcall('GETRANGE', key, 0, math.max(45, #condition - 2))
  if type(have) ~= 'string' then have = '' end
  if condition ~= '' and have ~= string.sub(condition, 2) then return false end
  if string.sub(condition, 1, 1) == '<' and struct.unpack('>I8', string.sub(have, 37, 44)) > now_ms() then return false end
  if #have < 28 or string.sub(have, 1, 2) ~= 'SK' or string.sub(have, 5, 12) ~= string.sub(stored, 5, 12) then return true end
  local ms, seq = position(stored)
  local have_ms, have_seq = position(have)
  return have_ms < ms or (have_ms == ms and have_seq <= seq)
end
