"""Whether events were removed from the stream before the group was given them.

Trimming (`MAXLEN`) leaves no trace at the entries that are left, so the server's counts are compared: how
many entries were ever added, how many are there, and how many came up to the last that the group was given.
`max-deleted-entry-id` tells of XDEL alone. Redis 7.0 counts a jump over a gap as one entry, so `entries-read`
is put right once a loss was told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# KEYS: stream.  ARGV: group.  Returns nothing when there is no such group.
_LOOK = """
local function fields_of(flat)
  local fields = {}
  for at = 1, #flat, 2 do fields[flat[at]] = flat[at + 1] end
  return fields
end
local stream = fields_of(redis.call('XINFO', 'STREAM', KEYS[1]))
local first = stream['first-entry'] and stream['first-entry'][1]
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = fields_of(flat)
  if group.name == ARGV[1] then
    return {stream.length, first or false, stream['last-generated-id'], stream['entries-added'] or false,
      stream['max-deleted-entry-id'] or false, group['last-delivered-id'], group['entries-read'] or false,
      group.lag or false}
  end
end
return false
"""

# Puts right how many entries the group was given, unless somebody did, or it was given more since.
# KEYS: stream.  ARGV: group, last delivered id, entries read as seen ('' for unknown), and from now on.
_SETTLE = """
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for at = 1, #flat, 2 do group[flat[at]] = flat[at + 1] end
  local read = tostring(group['entries-read'] or '')
  if group.name == ARGV[1] and group['last-delivered-id'] == ARGV[2] and read == ARGV[3] then
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[2], 'ENTRIESREAD', ARGV[4])
    return 1
  end
end
return 0
"""

Id = tuple[int, int]

_START: Id = (0, 0)


@dataclass(frozen=True, slots=True)
class Standing:
    """A stream and how far a group is in it, at one moment."""

    length: int
    first: Id | None
    """The oldest entry that is there."""
    last: Id
    """The youngest that was ever added."""
    added: int | None
    """How many were ever added; None before Redis 7."""
    deleted: Id
    """The youngest that XDEL has removed; (0, 0) for none, and before Redis 7."""
    delivered: Id
    """The last that the group was given."""
    read: int | None
    """How many were added up to that one; None where the server doesn't know."""
    lag: int | None
    """Entries that the group was not given yet, as the server counts them."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Entries that were removed before the group was given them."""

    count: int
    """How many; 1 where only that there are some is known."""
    exact: bool
    """Whether `count` is all: it is not told again once the group's `entries-read` says so."""
    read: int | None
    """What `entries-read` is once the loss counts as read; None where that can't be said."""


async def look(client: Any, stream: str, group: str) -> Standing | None:
    """Return how stream and group stand; None where there is no such group.

    Raises:
        redis.RedisError: The server can't be reached, or there is no such stream.
    """
    reply: list[Any] | None = await client.eval(_LOOK, 1, stream, group)
    if reply is None:
        return None
    length, first, last, added, deleted, delivered, read, lag = reply
    oldest = None if first is None else _id(first)
    removed = _START if deleted is None else _id(deleted)
    return Standing(length, oldest, _id(last), added, removed, _id(delivered), read, lag)


def loss(at: Standing) -> Loss | None:
    """Return what was removed unread; None if nothing was."""
    none_read_is_left = at.first is None or at.first > at.delivered
    if at.added is None:
        # Redis 6 keeps no counts. A new group can't tell; else what the group was given last should be there.
        unsure = none_read_is_left and _START < at.delivered < at.last
        return Loss(1, exact=False, read=None) if unsure else None
    read = 0 if at.read is None and at.delivered == _START else at.read
    known = at.added - at.length if none_read_is_left else at.added if at.delivered == at.last else None
    if known is not None and read is not None:
        return Loss(known - read, exact=True, read=known) if known > read else None
    if at.deleted > at.delivered or (none_read_is_left and at.delivered < at.last):
        return Loss(1, exact=False, read=None if read is None else read + 1)
    return None


async def settle(client: Any, stream: str, group: str, seen: Standing, told: Loss) -> bool:
    """Count a loss as read, so that it is told once; False if a peer did so, or the group has moved on."""
    if told.read is None:
        return True
    delivered, read = "{}-{}".format(*seen.delivered), "" if seen.read is None else seen.read
    return bool(await client.eval(_SETTLE, 1, stream, group, delivered, read, told.read))


def _id(raw: bytes) -> Id:
    milliseconds, _, sequence = raw.partition(b"-")
    return int(milliseconds), int(sequence)
