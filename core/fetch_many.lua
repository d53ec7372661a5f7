-- Read the stored forms of entries, no more of each than a bound.
-- KEYS: entries.  ARGV: the last byte to read.  Returns for each its bytes, empty where there is none, or nothing
-- where something else than a string is stored.
local found = {}
for at, key in ipairs(KEYS) do
  local stored = redis.pcall('GETRANGE', key, 0, ARGV[1])
  found[at] = type(stored) == 'string' and stored or false
end
return found
