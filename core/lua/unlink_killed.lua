-- Unlink entries that a record has killed: what was born before it, in its epoch. What is no entry goes, too.
-- KEYS: entries.  ARGV: the log's epoch and the record's position, as in a header (24 bytes).
-- Returns how many went.
local function position(stamp)
  return struct.unpack('>I8I8', string.sub(stamp, 9))
end

local epoch = string.sub(ARGV[1], 1, 8)
local ms, seq = position(ARGV[1])
local gone = 0
for _, key in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', key, 0, 27)
  local goes = type(head) == 'string' and head ~= ''
  if goes and #head == 28 and string.sub(head, 1, 2) == 'SK' then
    local born_ms, born_seq = position(string.sub(head, 5, 28))
    goes = string.sub(head, 5, 12) == epoch and (born_ms < ms or (born_ms == ms and born_seq < seq))
  end
  if goes then gone = gone + redis.call('UNLINK', key) end
end
return gone
