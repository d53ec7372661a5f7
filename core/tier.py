"""The Redis tier: entries behind one shared connection, each read held against the log."""

from __future__ import annotations

import enum
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from stoker.core.entry import HEADER_BYTES, Entry, header_length, pack_entry, unpack_entry
from stoker.core.errors import EntryError, LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link import Link
from stoker.core.log import InvalidationLog
from stoker.core.policy import Policy
from stoker.core.position import START, split_position
from stoker.core.script import Script

#: Bytes beyond the payload that an entry may have: header and tags.
MAX_OVERHEAD_BYTES = HEADER_BYTES + 2**16

#: Bytes that hold header and tags of almost all entries.
PEEK_BYTES = 1024

#: Entries that one round trip peeks at.
PEEK_BATCH = 500

#: Keys that one step of a scan asks for.
SCAN_COUNT = 1_000

#: Times a read looks again when the log ran ahead of it.
READ_ATTEMPTS = 4


class State(enum.StrEnum):
    """What a look-up found."""

    FRESH = "fresh"
    """May be served."""
    STALE = "stale"
    """May be served only while it is loaded again, or its loader fails."""
    DEAD = "dead"
    """Invalidated: never served."""
    ABSENT = "absent"
    """Not there."""
    UNDECODABLE = "undecodable"
    """Bytes that are no entry."""
    UNREACHABLE = "unreachable"
    """The server, or the log, could not be asked."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """The answer to a read."""

    state: State
    entry: Entry | None = None
    killer: int = START
    """Position of the record that killed it, where it is dead by one that is known."""


@dataclass(frozen=True, slots=True)
class EntryState:
    """What planning needs to know of an entry."""

    state: State
    ttl_left: float
    """Seconds until it turns stale; negative when it has."""
    ttl: float
    """Seconds it was fresh for when it was stored."""
    killer: int = START
    """Position of the record that killed it, where it is dead by one that is known."""


class Commit(enum.Enum):
    """What became of a store."""

    STORED = 1
    YOUNGER = 0
    """Another load that began later was stored before."""
    OTHER_EPOCH = -1
    FENCED = -2
    LOG_LOST = -3
    UNREACHABLE = -4


class RedisTier:
    """Reads and writes entries."""

    def __init__(self, link: Link, log: InvalidationLog, keys: Keys) -> None:
        self._link = link
        self._log = log
        self._keys = keys
        self._commit = Script("commit.lua")

    async def fetch(self, cache_type: str, key: str, policy: Policy) -> Lookup:
        """Read an entry strictly: held against all that stood in the log when the server was asked."""
        name = self._keys.entry(cache_type, key)
        limit = policy.max_entry + MAX_OVERHEAD_BYTES
        log = self._log
        for _ in range(READ_ATTEMPTS):
            try:
                check = log.check()
                data: bytes = await self._link.send(("GETRANGE", name, 0, limit))
            except LinkError:
                break
            except ReplyError:
                return Lookup(State.UNDECODABLE)  # not even a string
            if check.complete and log.epoch:
                return self.judge(cache_type, key, data, policy)
            await (log.catch_up() if log.epoch else log.resync())
        return Lookup(State.UNREACHABLE)

    def judge(self, cache_type: str, key: str, data: bytes, policy: Policy) -> Lookup:
        """Say what stored bytes are worth, by what is known of the log now."""
        if not data:
            return Lookup(State.ABSENT)
        try:
            entry = unpack_entry(data)
        except EntryError:
            return Lookup(State.UNDECODABLE)
        log, born, old = self._log, entry.born, entry.epoch != self._log.epoch
        if born < log.history.horizon or (old and policy.after_rollback == "dead"):
            return Lookup(State.DEAD, entry)
        if old:
            # When the log was lost and the clock ran backwards, it may have been born "after" records that
            # are younger: all of the new epoch count.
            born = min(born, log.epoch_start)
        killer = log.killer(cache_type, key, entry.tags, born)
        if killer:
            return Lookup(State.DEAD, entry, killer)
        if old or entry.fresh_until_ms <= time.time() * 1000:
            return Lookup(State.STALE, entry)
        return Lookup(State.FRESH, entry)

    async def store(self, cache_type: str, key: str, entry: Entry, ttl_ms: int) -> Commit:
        """Store an entry unless history has overtaken it; `ttl_ms` includes the stale window."""
        if not entry.epoch:
            return Commit.LOG_LOST
        keys = (self._keys.entry(cache_type, key), self._keys.fence)
        ms, seq = split_position(entry.born)
        try:
            answer = await self._commit.run(
                self._link, keys, pack_entry(entry), max(1, ttl_ms), f"{entry.epoch:016x}", ms, seq
            )
        except (LinkError, ReplyError):
            return Commit.UNREACHABLE
        commit = Commit(answer)
        if commit in {Commit.LOG_LOST, Commit.OTHER_EPOCH} and entry.epoch == self._log.epoch:
            self._log.lose()  # the server knows of an epoch that this process doesn't
        return commit

    async def unlink(self, cache_type: str, key: str) -> int:
        """Give an entry's memory back; say how many were there."""
        try:
            return int(await self._link.call("UNLINK", self._keys.entry(cache_type, key)))
        except (LinkError, ReplyError):
            return 0

    async def peek(self, cache_type: str, keys: Sequence[str], policy: Policy) -> list[EntryState | None]:
        """Say of each key how its entry stands, without its payload; None where there is no entry.

        Raises:
            LinkError: The server can't be reached.
        """
        found: list[EntryState | None] = []
        for start in range(0, len(keys), PEEK_BATCH):
            batch = keys[start : start + PEEK_BATCH]
            if not await self._log.catch_up():
                raise LinkError("the log can't be read")
            heads = await self.heads([self._keys.entry(cache_type, key) for key in batch])
            for key, head in zip(batch, heads, strict=True):
                lookup = self.judge(cache_type, key, head, policy)
                found.append(None if lookup.entry is None else _state_of(lookup, lookup.entry))
        return found

    async def heads(self, names: Sequence[str | bytes]) -> list[bytes]:
        """Read headers and tags (and perhaps some payload) of entries; empty where there is none.

        Raises:
            LinkError: The server can't be reached.
        """
        replies = await self._link.calls([("GETRANGE", name, 0, PEEK_BYTES - 1) for name in names])
        heads: list[bytes] = []
        for name, reply in zip(names, replies, strict=True):
            head: bytes = b"" if isinstance(reply, ReplyError) else reply
            if len(head) >= HEADER_BYTES and header_length(head) > len(head):
                head = await self._link.call("GETRANGE", name, 0, header_length(head) - 1)
            heads.append(head)
        return heads

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """Walk the Redis keys that match, in steps that never hold the server up; a key may come twice.

        Raises:
            LinkError: The server can't be reached.
        """
        cursor = b"0"
        while True:
            cursor, names = await self._link.call("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)
            if names:
                yield names
            if cursor == b"0":
                return


def _state_of(lookup: Lookup, entry: Entry) -> EntryState:
    left = entry.fresh_until_ms / 1000 - time.time()
    return EntryState(lookup.state, left, (entry.fresh_until_ms - entry.created_ms) / 1000, lookup.killer)
