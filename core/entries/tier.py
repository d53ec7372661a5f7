"""The Redis tier: entries behind one shared connection, each read held against the log.

Reads of one loop turn that want the same entry share one fetch: it leaves after all of them began.
"""

from __future__ import annotations

import asyncio
import math
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from time import time
from typing import Any

from stoker.core.entries.codec import MISSING, decode_plain, decoder_of
from stoker.core.entries.entry import (
    FROZEN_BYTES,
    HEAD_OF_PLAIN,
    HEADER_BYTES,
    MAGIC,
    VERSION,
    Entry,
    header_length,
    payload_start,
)
from stoker.core.entries.judging import Judging
from stoker.core.entries.lookup import EntryState, Lookup, State
from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link.link import Link
from stoker.core.link.packing import RangeOfEntry
from stoker.core.link.script import Script
from stoker.core.link.wire import settle
from stoker.core.log.check import Check
from stoker.core.log.knowledge import Log
from stoker.core.log.position import START
from stoker.core.settings.policy import Policy

#: Bytes beyond the payload that an entry may have: header and tags.
MAX_OVERHEAD_BYTES = HEADER_BYTES + 2**16

#: Bytes that hold header and tags of almost all entries.
PEEK_BYTES = 1024

#: Bytes by which what nobody can read is known again, with its length.
SEEN_BYTES = 64

#: Entries that one round trip peeks at.
PEEK_BATCH = 500

#: Entries that are asked for at a time; the link stays free for others between.
FETCH_BATCH = 1_000

#: Entries of these that leave in one write: the server works on them while others are asked for, or judged.
FETCH_TOGETHER = 50

#: Times a read looks again when the log ran ahead of it.
READ_ATTEMPTS = 4

_look_for_plain = HEAD_OF_PLAIN.unpack_from


Sent = tuple[Check, int, int]
"""What a fetch is held against: the check that left before it, how far the log had been swept, and how far it
was known."""

_Asked = tuple[Future[list[Any]], Sent]
"""Entries that were asked for together: what gets the replies, and what these are held against."""


class RedisTier(Judging):
    """Reads entries."""

    def __init__(self, link: Link, log: Log, keys: Keys) -> None:
        super().__init__(log)
        self._link = link
        self._keys = keys
        self._ranges: dict[str, RangeOfEntry] = {}
        self._asked: dict[bytes, Future[Any]] = {}
        self.sent: Sent = Check(b"", 0, -1, -1), START, START
        """What the last reply that was asked for is held against."""
        # Who begins to read later needs a fetch that leaves later.
        link.on_write.append(self._asked.clear)
        link.on_loop.append(self._asked.clear)
        self._touch = Script("touch.lua")
        self._unlink = Script("unlink_unreadable.lua")

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
                self.sent = log.check(loop), log.history.swept, log.seen
            asked[command] = future  # before it is queued, which may send it: then it is to be forgotten
            if link.is_cluster:
                link.post(fetched.command(key), partial(settle, future))
            else:
                link.post_packed(command, future.set_result, loop)
        except LinkError as error:
            asked.pop(command, None)
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
        log = self._log
        if (
            type(reply) is not bytes
            or len(reply) < HEADER_BYTES
            or not check.complete
            or log.history.swept != swept
        ):
            return MISSING
        if log.version != self._learnt:
            self._learn()
        begin, born, fresh_until_ms, tags_length = _look_for_plain(reply)
        start = payload_start(reply) if tags_length else HEADER_BYTES
        if begin != self._begin or born < self._alive_from or not start or fresh_until_ms <= time() * 1000:
            return MISSING
        try:
            return decode_plain(reply[start:]) if into is Any else decoder_of(into)(reply[start:])
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
        async for part, stored, seen in self.fetch_stored(cache_type, keys, policy):
            if isinstance(stored, State):
                found += [Lookup(stored) for _ in part]
                continue
            for pair in zip(part, stored, strict=True):
                lookup = judge(cache_type, *pair, policy)
                lookup.checked = seen
                found.append(lookup)
        return found

    async def fetch_stored(
        self, cache_type: str, keys: Sequence[str], policy: Policy
    ) -> AsyncGenerator[tuple[Sequence[str], Sequence[bytes | None] | State, int]]:
        """Fetch stored forms from the one server there is, part by part, each to be judged at once.

        While the first are judged, the server works on the next.

        Yields:
            Keys; their stored forms, or why there are none to be had; and the position up to which the log
            was known before.
        """
        for first in range(0, len(keys), FETCH_BATCH):
            batch = keys[first : first + FETCH_BATCH]
            size = math.ceil(len(batch) / math.ceil(len(batch) / FETCH_TOGETHER))
            parts = [batch[start : start + size] for start in range(0, len(batch), size)]
            asked = [self._ask_many(cache_type, part, policy) for part in parts]
            for part, one in zip(parts, asked, strict=True):
                yield part, *await self._stored_of(one, cache_type, part, policy)

    def _ask_many(self, cache_type: str, keys: Sequence[str], policy: Policy) -> _Asked | None:
        """Ask for entries with a write of their own; None where the server is away."""
        log, link, fetched = self._log, self._link, self._range_of(cache_type, policy)
        try:
            sent = log.check(), log.history.swept, log.seen
            asked = link.post_all([fetched.pack(key) for key in keys]), sent
        except LinkError:
            return None
        link.send_now()
        return asked

    async def _stored_of(
        self, asked: _Asked | None, cache_type: str, keys: Sequence[str], policy: Policy
    ) -> tuple[Sequence[bytes | None] | State, int]:
        """Wait for entries that were asked for; ask again where the log ran ahead of the look at it."""
        log = self._log
        for _ in range(READ_ATTEMPTS):
            if asked is None:
                break
            future, (check, swept, seen) = asked
            stored = await future
            if check.complete and check.view == log.view and log.history.swept == swept:
                return _without_errors(stored), seen
            await (log.catch_up() if log.epoch else log.resync())
            asked = self._ask_many(cache_type, keys, policy)
        return State.UNREACHABLE, START

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
