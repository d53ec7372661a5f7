-- Unlink entries that a record has killed: each, unless it was born there or later. What is no entry goes, too.
-- KEYS: entries.  ARGV: the record's position, as in a header (16 bytes).  Returns how many went.
-- (Positions are times: what was born in a later epoch was born later.)
local function position(bytes)
  return struct.unpack('>I8I8', bytes)
end

local ms, seq = position(ARGV[1])
local gone = 0
for _, key in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', key, 0, 27)
  local goes = type(head) == 'string' and head ~= ''
  if goes and #head == 28 and string.sub(head, 1, 2) == 'SK' then
    local born_ms, born_seq = position(string.sub(head, 13, 28))
    goes = born_ms < ms or (born_ms == ms and born_seq < seq)
  end
  if goes then gone = gone + redis.call('UNLINK', key) end
end
return gone
