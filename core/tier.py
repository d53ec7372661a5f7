"""The Redis tier: entries behind one shared connection, each read held against the log.

Reads of one loop turn that want the same entry share one fetch: it leaves after all of them began.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.core.entry import HEADER_BYTES, Entry, header_length, is_plain, unpack_entry
from stoker.core.errors import EntryError, LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link import Link
from stoker.core.log import Check, InvalidationLog
from stoker.core.policy import Policy
from stoker.core.position import START

#: Bytes beyond the payload that an entry may have: header and tags.
MAX_OVERHEAD_BYTES = HEADER_BYTES + 2**16

#: Bytes that hold header and tags of almost all entries.
PEEK_BYTES = 1024

#: Entries that one round trip peeks at.
PEEK_BATCH = 500

#: Entries that one round trip fetches; the link stays free for others between.
FETCH_BATCH = 1_000

#: Keys that one step of a scan asks for.
SCAN_COUNT = 1_000

#: Times a read looks again when the log ran ahead of it.
READ_ATTEMPTS = 4

_number = int.from_bytes


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


@dataclass(slots=True)
class Lookup:
    """The answer to a read."""

    state: State
    data: bytes = b""
    """The stored form, where there is one that could be read."""
    killer: int = START
    """Position of the record that killed it, where it is dead by one that is known."""
    checked: int = START
    """The position on the log up to which it was found to be alive."""
    held: Any = None
    """What the memory tier holds, where the entry comes from there."""
    found: Entry | None = None

    @property
    def entry(self) -> Entry | None:
        """The entry, taken apart when it is first asked for."""
        if self.found is None and self.data:
            try:
                self.found = unpack_entry(self.data)
            except EntryError:
                self.data = b""
        return self.found


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


class _Fetch:
    """An entry under way from the server; called with the reply."""

    __slots__ = ("_tier", "cache_type", "check", "data", "key", "name", "policy", "waiting", "write")

    def __init__(
        self, tier: RedisTier, cache_type: str, key: str, policy: Policy, name: str, check: Check, write: int
    ) -> None:
        self._tier = tier
        self.cache_type = cache_type
        self.key = key
        self.policy = policy
        self.name = name
        self.check = check
        self.write = write
        """The link's write that carries it; reads that begin later need another."""
        self.data = b""
        self.waiting: list[asyncio.Future[Lookup | None]] = []

    def __call__(self, reply: Any) -> None:
        lookup = self._tier.conclude(self, reply)
        for future in self.waiting:
            if not future.done():
                future.set_result(lookup)


class RedisTier:
    """Reads entries."""

    def __init__(self, link: Link, log: InvalidationLog, keys: Keys) -> None:
        self._link = link
        self._log = log
        self._keys = keys
        self._fetches: dict[str, _Fetch] = {}

    async def fetch(self, cache_type: str, key: str, policy: Policy) -> Lookup:
        """Read an entry strictly: held against all that stood in the log when the server was asked."""
        log, loop = self._log, asyncio.get_running_loop()
        for _ in range(READ_ATTEMPTS):
            try:
                fetch = self._fetch(cache_type, key, policy)
            except LinkError:
                break
            future: asyncio.Future[Lookup | None] = loop.create_future()
            fetch.waiting.append(future)
            lookup = await future
            if lookup is None and not fetch.check.done:
                # On a cluster the log's node may answer last.
                await fetch.check.wait()
                lookup = self._settled(fetch)
            if lookup is not None:
                return lookup
            await (log.catch_up() if log.epoch else log.resync())
        return Lookup(State.UNREACHABLE)

    def _fetch(self, cache_type: str, key: str, policy: Policy) -> _Fetch:
        """Join the fetch of an entry that this loop turn's write will carry, or queue one."""
        name, link = self._keys.entry(cache_type, key), self._link
        fetch = self._fetches.get(name)
        if fetch is None or fetch.write != link.writes:
            check = self._log.check()
            fetch = _Fetch(self, cache_type, key, policy, name, check, link.writes)
            link.post(("GETRANGE", name, 0, policy.max_entry + MAX_OVERHEAD_BYTES), fetch)
            self._fetches[name] = fetch
        return fetch

    def conclude(self, fetch: _Fetch, reply: Any) -> Lookup | None:
        """Take in the reply to a fetch; None when the read must look again."""
        if self._fetches.get(fetch.name) is fetch:
            del self._fetches[fetch.name]
        if isinstance(reply, LinkError):
            return Lookup(State.UNREACHABLE)
        if isinstance(reply, ReplyError):
            # Not even a string, or a server that is loading, full or forbids it.
            wrong = str(reply).startswith("WRONGTYPE")
            return Lookup(State.UNDECODABLE if wrong else State.UNREACHABLE)
        fetch.data = reply
        return self._settled(fetch)

    def _settled(self, fetch: _Fetch) -> Lookup | None:
        """Judge what was fetched, if the look at the log before it is complete."""
        if fetch.check.complete and self._log.epoch:
            return self.judge(fetch.cache_type, fetch.key, fetch.data, fetch.policy)
        return None

    async def fetch_many(self, cache_type: str, keys: Sequence[str], policy: Policy) -> list[Lookup]:
        """Read entries strictly, all of a batch in one round trip."""
        found: list[Lookup] = []
        for start in range(0, len(keys), FETCH_BATCH):
            found += await self._fetch_batch(cache_type, keys[start : start + FETCH_BATCH], policy)
        return found

    async def _fetch_batch(self, cache_type: str, keys: Sequence[str], policy: Policy) -> list[Lookup]:
        log, name = self._log, self._keys.entry
        last = policy.max_entry + MAX_OVERHEAD_BYTES
        commands = [("GETRANGE", name(cache_type, key), 0, last) for key in keys]
        for _ in range(READ_ATTEMPTS):
            try:
                check = log.check()
                replies = await self._link.gather(commands)
            except LinkError:
                break
            if not check.done:
                await check.wait()
            if check.complete and log.epoch:
                return self._judge_batch(cache_type, keys, replies, policy)
            await (log.catch_up() if log.epoch else log.resync())
        return [Lookup(State.UNREACHABLE) for _ in keys]

    def _judge_batch(
        self, cache_type: str, keys: Sequence[str], replies: Sequence[Any], policy: Policy
    ) -> list[Lookup]:
        judge, found = self.judge, list[Lookup]()
        for key, reply in zip(keys, replies, strict=True):
            if isinstance(reply, ReplyError):
                wrong = str(reply).startswith("WRONGTYPE")
                found.append(Lookup(State.UNDECODABLE if wrong else State.UNREACHABLE))
            else:
                found.append(judge(cache_type, key, reply, policy))
        return found

    def judge(self, cache_type: str, key: str, data: bytes, policy: Policy) -> Lookup:
        """Say what stored bytes are worth, by what is known of the log now."""
        if not data:
            return Lookup(State.ABSENT)
        log, history = self._log, self._log.history
        # Almost all reads end here: nothing at all was invalidated since the entry was born.
        born = _number(data[12:28])
        if (
            is_plain(data)
            and born >= history.latest
            and born >= history.horizon
            and _number(data[4:12]) == log.epoch
            and log.kept.empty
            and _number(data[36:44]) > time.time() * 1000
        ):
            return Lookup(State.FRESH, data, START, log.seen)
        try:
            entry = unpack_entry(data)
        except EntryError:
            return Lookup(State.UNDECODABLE)
        old = entry.epoch != log.epoch
        lookup = Lookup(State.DEAD, data, START, log.seen, None, entry)
        if born < history.horizon or (old and policy.after_rollback == "dead"):
            return lookup
        if old and policy.after_rollback == "revalidate":
            # When the log was lost and the clock ran backwards, it may have been born "after" records that
            # are younger: all of the new epoch count.
            born = min(born, log.epoch_start)
        lookup.killer = log.killer(cache_type, key, entry.tags, born)
        if not lookup.killer:
            stale = entry.fresh_until_ms <= time.time() * 1000
            old = old and policy.after_rollback != "trust"
            lookup.state = State.STALE if stale or old else State.FRESH
        return lookup

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
