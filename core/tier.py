"""The Redis tier: entries behind one shared connection, each read held against the log."""

from __future__ import annotations

import enum
import time
from collections.abc import Sequence
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
            await (log.resync() if check.failed else log.catch_up())
        return Lookup(State.UNREACHABLE)

    def judge(self, cache_type: str, key: str, data: bytes, policy: Policy) -> Lookup:
        """Say what stored bytes are worth, by what is known of the log now."""
        if not data:
            return Lookup(State.ABSENT)
        try:
            entry = unpack_entry(data)
        except EntryError:
            return Lookup(State.UNDECODABLE)
        history = self._log.history
        if entry.epoch != history.epoch:
            return self._judge_old(cache_type, key, entry, policy)
        if entry.born < history.horizon:
            return Lookup(State.DEAD, entry)
        killer = history.killer(cache_type, key, entry.tags, entry.born)
        if killer:
            return Lookup(State.DEAD, entry, killer)
        stale = entry.fresh_until_ms <= time.time() * 1000
        return Lookup(State.STALE if stale else State.FRESH, entry)

    def _judge_old(self, cache_type: str, key: str, entry: Entry, policy: Policy) -> Lookup:
        """An entry of an older epoch: stale at best, and dead by any record of the new one."""
        history = self._log.history
        whole = history.epoch_start > START and history.horizon == history.epoch_start
        if policy.after_rollback == "dead" or not whole:
            return Lookup(State.DEAD, entry)
        # Positions of two epochs can't be compared when the clock ran backwards: all of the new one count.
        killer = history.killer(cache_type, key, entry.tags, min(entry.born, history.epoch_start))
        return Lookup(State.DEAD if killer else State.STALE, entry, killer)

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
        return Commit(answer)

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
            names = [self._keys.entry(cache_type, key) for key in batch]
            heads = await self._link.calls([("GETRANGE", name, 0, PEEK_BYTES - 1) for name in names])
            for key, name, head in zip(batch, names, heads, strict=True):
                found.append(await self._peek_at(cache_type, key, name, head, policy))
        return found

    async def _peek_at(
        self, cache_type: str, key: str, name: str, head: bytes | ReplyError, policy: Policy
    ) -> EntryState | None:
        if isinstance(head, ReplyError) or len(head) < HEADER_BYTES:
            return None
        if header_length(head) > len(head):
            whole: bytes = await self._link.call("GETRANGE", name, 0, header_length(head) - 1)
            head = whole
        lookup = self.judge(cache_type, key, head, policy)
        if lookup.entry is None:
            return None
        created, until = lookup.entry.created_ms, lookup.entry.fresh_until_ms
        left, lasted = until / 1000 - time.time(), (until - created) / 1000
        return EntryState(lookup.state, left, lasted, lookup.killer)
