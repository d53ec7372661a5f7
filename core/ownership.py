"""What only the holder of a key may do with it: each holder writes a token that nobody else has."""

from __future__ import annotations

# KEYS: the key.  ARGV: token, TTL in ms.  1 if it was renewed, 0 if somebody else has it, or nobody.
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# KEYS: the key.  ARGV: token.
RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])
"""
