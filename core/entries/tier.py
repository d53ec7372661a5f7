"""The Redis tier: entries behind one shared connection, each read held against the log.

Reads of one loop turn that want the same entry share one fetch: it leaves after all of them began.
"""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections.abc import Sequence
from functools import partial
from time import time
from typing import Any

from stoker.core.entries.codec import MISSING, decoder_of
from stoker.core.entries.entry import (
    BEGINS,
    FROZEN_BYTES,
    GOOD_FLAGS,
    HEAD_OF_READ,
    HEADER_BYTES,
    MAGIC,
    VERSION,
    Entry,
    header_length,
    payload_start,
    unpack_entry,
)
from stoker.core.entries.lookup import EntryState, Lookup, State
from stoker.core.errors import EntryError, LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link.link import Link
from stoker.core.link.packing import RangeOfEntry
from stoker.core.link.script import Script
from stoker.core.link.wire import settle
from stoker.core.log.check import Check
from stoker.core.log.knowledge import Log
from stoker.core.log.position import START
from stoker.core.settings.policy import Policy

__all__ = ["EntryState", "Lookup", "RedisTier", "Sent", "State"]

#: Bytes beyond the payload that an entry may have: header and tags.
MAX_OVERHEAD_BYTES = HEADER_BYTES + 2**16

#: Bytes that hold header and tags of almost all entries.
PEEK_BYTES = 1024

#: Bytes by which what nobody can read is known again, with its length.
SEEN_BYTES = 64

#: Entries that one round trip peeks at.
PEEK_BATCH = 500

#: Entries that one round trip fetches; the link stays free for others between.
FETCH_BATCH = 1_000

#: Times a read looks again when the log ran ahead of it.
READ_ATTEMPTS = 4

_look = HEAD_OF_READ.unpack_from


Sent = tuple[Check, int, int]
"""What a fetch is held against: the check that left before it, how far the log had been swept, and how far it
was known."""


class RedisTier:
    """Reads entries."""

    def __init__(self, link: Link, log: Log, keys: Keys) -> None:
        self._link = link
        self._log = log
        self._keys = keys
        self._ranges: dict[str, RangeOfEntry] = {}
        self._asked: dict[bytes, Future[Any]] = {}
        self.sent: Sent = Check(b"", 0, -1, -1), START, START
        """What the last reply that was asked for is held against."""
        link.on_loop.append(self._asked.clear)
        self._touch = Script("touch.lua")
        self._unlink = Script("unlink_unreadable.lua")
        self._learnt = -1
        self._epoch = b""
        self._alive_from = self._begin = b""

    # -- fetching ---------------------------------------------------------------------------------

    @property
    def spread(self) -> bool:
        """Whether entries are on several servers: then each is asked for on its own."""
        return self._link.is_cluster

    async def fetch(self, cache_type: str, key: str, policy: Policy) -> Lookup:
        """Read an entry strictly: held against all that stood in the log when the server was asked."""
        log = self._log
        attempts = 0
        while attempts < READ_ATTEMPTS:
            future = self.ask(cache_type, key, policy, get_running_loop())
            sent = self.sent
            reply = await future
            if reply is MISSING:
                continue  # whoever asked for it has given up
            lookup = await self.understand(reply, sent, cache_type, key, policy)
            if lookup is not None:
                return lookup
            attempts += 1
            await (log.catch_up() if log.epoch else log.resync())
        return Lookup(State.UNREACHABLE)

    def ask(self, cache_type: str, key: str, policy: Policy, loop: AbstractEventLoop) -> Future[Any]:
        """Ask for an entry with this loop turn's write; `sent` then says what the reply is held against.

        Args:
            cache_type: The key's type.
            key: The key.
            policy: The type's policy.
            loop: The event loop that runs.

        Returns:
            What gets the reply: bytes, an error, or `MISSING` where whoever asked for it has given up.
        """
        asked, link = self._asked, self._link
        fetched = self._ranges.get(cache_type) or self._range_of(cache_type, policy)
        command = fetched.pack(key)
        future: Future[Any] = Future(loop=loop)
        if command in asked:
            link.check_loop()
            asked[command].add_done_callback(partial(_share, future))
            return future
        try:
            if not asked:
                log = self._log
                # What is known now: a sweep that is heard of before the reply is judged may have had its
                # killers forgotten, and unlinked the entry only after it was read.
                self.sent = log.check(), log.history.swept, log.seen
                # Who begins to read later needs a fetch that leaves later.
                link.before_flush(asked.clear)
            if link.is_cluster:
                link.post(fetched.command(key), partial(settle, future))
            else:
                link.post_packed(command, future.set_result, loop)
            asked[command] = future
        except LinkError as error:
            future.set_result(error)
        return future

    def _range_of(self, cache_type: str, policy: Policy) -> RangeOfEntry:
        """What of a type's entries is fetched."""
        begin = self._keys.entry(cache_type, "")[:-1]
        found = self._ranges[cache_type] = RangeOfEntry(begin, policy.max_entry + MAX_OVERHEAD_BYTES)
        return found

    def plain_value(self, reply: Any, sent: Sent, into: Any) -> Any:
        """The value of a reply to `ask`, where it is plainly fresh and plain MessagePack; else `MISSING`."""
        check, swept, _ = sent
        if (
            type(reply) is not bytes
            or not check.complete
            or self._log.history.swept != swept
            or not self.is_plainly_fresh(reply, time() * 1000)
            or reply[3]  # flags
        ):
            return MISSING
        # Bytes 44 and 45 have the length of the tags.
        payload = reply[HEADER_BYTES:] if reply[44:46] == b"\0\0" else reply[header_length(reply) :]
        try:
            return decoder_of(into)(payload)
        except Exception:  # noqa: BLE001  validators raise what they like; counted where it is read again
            return MISSING

    async def understand(
        self, reply: Any, sent: Sent, cache_type: str, key: str, policy: Policy
    ) -> Lookup | None:
        """Say how the entry stands that a reply to `ask` brought; None: ask again."""
        check, swept, seen = sent
        if isinstance(reply, (LinkError, ReplyError)):
            return Lookup(_state_of_error(reply))
        if not check.done:
            await check.wait()  # on a cluster the log's server may answer last
        if not check.complete or check.view != self._log.view or self._log.history.swept != swept:
            return None
        if reply is MISSING:
            return None  # whoever asked for it has given up
        lookup = self.judge(cache_type, key, reply, policy)
        lookup.checked = seen
        return lookup

    async def fetch_many(self, cache_type: str, keys: Sequence[str], policy: Policy) -> list[Lookup]:
        """Read entries strictly, all of a batch in one round trip; on a cluster, one to each server."""
        if self.spread:
            return list(await asyncio.gather(*(self.fetch(cache_type, key, policy) for key in keys)))
        judge, found = self.judge, list[Lookup]()
        for start in range(0, len(keys), FETCH_BATCH):
            batch = keys[start : start + FETCH_BATCH]
            stored, seen = await self.fetch_stored(cache_type, batch, policy)
            if isinstance(stored, State):
                found += [Lookup(stored) for _ in batch]
                continue
            for pair in zip(batch, stored, strict=True):
                lookup = judge(cache_type, *pair, policy)
                lookup.checked = seen
                found.append(lookup)
        return found

    async def fetch_stored(
        self, cache_type: str, keys: Sequence[str], policy: Policy
    ) -> tuple[Sequence[bytes | None] | State, int]:
        """Fetch stored forms in one round trip, to be judged at once, or say why there are none to be had.

        The other part of the answer is the position up to which the log was known before.
        """
        log, link, fetched = self._log, self._link, self._range_of(cache_type, policy)
        for _ in range(READ_ATTEMPTS):
            try:
                check, swept, seen = log.check(), log.history.swept, log.seen
                if link.is_cluster:
                    stored = await link.gather([fetched.command(key) for key in keys])
                else:
                    stored = await link.post_all([fetched.pack(key) for key in keys])
            except LinkError:
                break
            if not check.done:
                await check.wait()
            if check.complete and check.view == log.view and log.history.swept == swept:
                return _without_errors(stored), seen
            await (log.catch_up() if log.epoch else log.resync())
        return State.UNREACHABLE, START

    # -- judging ----------------------------------------------------------------------------------

    def judge(self, cache_type: str, key: str, data: bytes | None, policy: Policy) -> Lookup:
        """Say what stored bytes are worth, by what is known of the log now; None: they are no string."""
        if not data:
            return Lookup(State.ABSENT if data == b"" else State.UNDECODABLE)
        if self.is_plainly_fresh(data, time() * 1000):
            return Lookup(State.FRESH, data)
        return self._judge_closely(cache_type, key, data, policy)

    def is_plainly_fresh(self, data: bytes, now_ms: float) -> bool:
        """Whether an entry is fresh, and nothing at all was invalidated since its birth: most are so."""
        if self._log.version != self._learnt:
            self._learn()
        if len(data) < HEADER_BYTES:
            return False
        begins, flags, epoch, born, fresh_until_ms, tags_length = _look(data)
        return (
            epoch == self._epoch
            and born >= self._alive_from
            and begins == BEGINS
            and flags in GOOD_FLAGS
            and (not tags_length or payload_start(data) > 0)
            and fresh_until_ms > now_ms
        )

    def payload_starts(self, stored: Sequence[bytes | None], now_ms: float) -> list[int]:
        """Where payloads begin, of entries that are plainly fresh and plain MessagePack; 0 for others.

        One that was cut off, or whose tags are damaged, has none there.
        """
        if self._log.version != self._learnt:
            self._learn()
        begin, alive_from, now = self._begin, self._alive_from, int(now_ms).to_bytes(8)
        # As `is_plainly_fresh`, whose call for each entry would cost a batch a twentieth of its speed.
        return [
            (HEADER_BYTES if data[44:46] == b"\0\0" else payload_start(data))
            if data is not None and data[:12] == begin and data[12:28] >= alive_from and data[36:44] > now
            else 0
            for data in stored
        ]

    def _learn(self) -> None:
        """Note from where on an entry is alive without a look at what was invalidated."""
        log, history = self._log, self._log.history
        self._learnt = log.version
        self._epoch = log.epoch.to_bytes(8) if log.epoch and log.kept.empty else b""
        self._begin = BEGINS + b"\0" + self._epoch if self._epoch else b"none"
        self._alive_from = max(history.latest, history.horizon, log.trusted_from).to_bytes(16)

    def _judge_closely(self, cache_type: str, key: str, data: bytes, policy: Policy) -> Lookup:
        log = self._log
        try:
            entry = unpack_entry(data)
        except EntryError:
            return Lookup(State.UNDECODABLE, unreadable=data)
        born = entry.born
        older = entry.epoch != log.epoch
        old = older or born < log.trusted_from
        lookup = Lookup(State.DEAD, data, START, START, None, entry)
        if born < log.history.horizon or (old and policy.after_rollback == "dead"):
            return lookup
        if older and policy.after_rollback == "revalidate":
            # When the log was lost and the clock ran backwards, it may have been born "after" records that
            # are younger: all of the new epoch count.
            born = min(born, log.epoch_start)
        lookup.killer = log.killer(cache_type, key, entry.tags, born)
        if not lookup.killer:
            stale = entry.fresh_until_ms <= time() * 1000
            old = old and policy.after_rollback != "trust"
            lookup.state = State.STALE if stale or old else State.FRESH
        return lookup

    # -- the rest ---------------------------------------------------------------------------------

    async def touch(self, cache_type: str, key: str, seen: bytes, fresh_until_ms: int, ttl_ms: int) -> bool:
        """Give an entry another time to live, if it is still the one that was seen; say whether it was."""
        name = self._keys.entry(cache_type, key)
        fresh = fresh_until_ms.to_bytes(8)
        try:
            return bool(await self._touch.run(self._link, [name], seen[:FROZEN_BYTES], fresh, max(1, ttl_ms)))
        except (LinkError, ReplyError):
            return False

    async def unlink_unreadable(self, cache_type: str, key: str, seen: bytes) -> bool:
        """Unlink what nobody can read, if it is still what was seen; say whether it was.

        What a newer version of the format may have written stays.
        """
        if seen[:2] == MAGIC and seen[2:3] > bytes((VERSION,)):
            return False
        name = self._keys.entry(cache_type, key)
        try:
            return bool(await self._unlink.run(self._link, [name], seen[:SEEN_BYTES], len(seen)))
        except (LinkError, ReplyError):
            return False

    async def peek(self, cache_type: str, keys: Sequence[str], policy: Policy) -> list[EntryState | None]:
        """Say of each key how its entry stands, without its payload; None where there is no entry.

        Raises:
            LinkError: The server can't be reached.
        """
        found: list[EntryState | None] = []
        for start in range(0, len(keys), PEEK_BATCH):
            batch = keys[start : start + PEEK_BATCH]
            if not await self._log.read_back():
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


def _share(later: Future[Any], first: Future[Any]) -> None:
    """Hand a reply on to who wants it, too."""
    settle(later, MISSING if first.cancelled() else first.result())  # who asked first has given up


def _state_of(lookup: Lookup, entry: Entry) -> EntryState:
    left = entry.fresh_until_ms / 1000 - time()
    return EntryState(lookup.state, left, (entry.fresh_until_ms - entry.created_ms) / 1000, lookup.killer)


def _without_errors(replies: list[Any]) -> Sequence[bytes | None] | State:
    """Replies with None for what is no string; or what an error that concerns them all makes of them."""
    if set(map(type, replies)) == {bytes}:
        return replies
    for at, reply in enumerate(replies):
        if isinstance(reply, (LinkError, ReplyError)):
            if _state_of_error(reply) is State.UNREACHABLE:
                return State.UNREACHABLE
            replies[at] = None
    return replies


def _state_of_error(error: LinkError | ReplyError) -> State:
    """Not even a string; or a server that is away, loading, full, or forbids it."""
    wrong = isinstance(error, ReplyError) and str(error).startswith("WRONGTYPE")
    return State.UNDECODABLE if wrong else State.UNREACHABLE
