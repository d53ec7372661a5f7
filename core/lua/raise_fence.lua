-- Raise the fence: from now on, commits that were born before it are refused. The floor stays.
-- KEYS: fence.  ARGV: epoch (16 hex digits), ms, seq.  Returns 1 raised, 0 it is there or higher, -1 another epoch.
local fence = redis.call('GET', KEYS[1])
if not fence or string.sub(fence, 1, 16) ~= ARGV[1] then return -1 end
local ms, seq, floor = string.match(fence, '^%x+:(%d+)%-(%d+):([%d%-]*)$')
ms, seq = tonumber(ms), tonumber(seq)
local new_ms, new_seq = tonumber(ARGV[2]), tonumber(ARGV[3])
if new_ms < ms or (new_ms == ms and new_seq <= seq) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. ARGV[2] .. '-' .. ARGV[3] .. ':' .. floor)
return 1
