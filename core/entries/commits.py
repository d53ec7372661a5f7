"""Commits: entries on their way to the server, all of a loop turn's in one script call.

The script decides what is stored: nothing that history has overtaken (`commit.lua`).
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Sequence
from typing import Any

from stoker.core.entries.entry import header_length
from stoker.core.entries.lookup import Lookup, State
from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link.link import Argument, Link
from stoker.core.link.script import Script
from stoker.core.link.wire import settle
from stoker.core.log.knowledge import Log

#: One call of the script takes so many entries, and so many bytes; the server does nothing else meanwhile.
#: With more, it would begin later, and this process would wait instead of taking the first answers in.
MAX_ENTRIES = 25
MAX_BYTES = 1 << 20

#: Conditions of a commit beside those that always hold. `TAIL`: the caller vouches for the value now, and the
#: script stamps it with the log's end. `HEAD`: what is stored there begins with what follows; with nothing
#: after it, nothing is stored. `EXPIRED`: so it does, and it is fresh no longer by the server's clock.
ALWAYS, TAIL, HEAD, EXPIRED = b"", b"tail", b"=", b"<"

#: What the scripts share: when an entry takes the place of another.
REPLACING = "replacing.lua"


class Commit(enum.Enum):
    """What became of a store."""

    STORED = 1
    YOUNGER = 0
    """Another load that began later was stored before, or something else than was expected is stored."""
    OTHER_EPOCH = -1
    FENCED = -2
    LOG_LOST = -3
    UNREACHABLE = -4
    """It was not sent."""
    UNKNOWN = -5
    """It was sent, and no answer came: it may be stored, or be so yet."""
    REFUSED = -6
    """The server answered with an error: it is full, a replica, or forbids it."""


_MEANINGS = {commit.value: commit for commit in Commit}

#: Looked up once, for what almost all sets come to: to name an enum's member costs as much as a call.
STORED = Commit.STORED


def unanswered(error: LinkError | ReplyError) -> Commit:
    """What became of a commit that was sent, and was answered with an error, or not at all."""
    return Commit.UNKNOWN if isinstance(error, LinkError) else Commit.REFUSED


Pending = tuple[str, bytes, int, bytes, asyncio.Future[Commit]]
"""One entry that waits for its commit: name, stored form, TTL in ms, condition, who waits."""


def still_there(lookup: Lookup) -> bytes:
    """The condition that what was found is what is stored: in all of it by which it was found to be gone.

    Where it was born is not enough: on a log that nobody appends to, its successor is born there, too.
    """
    there, entry = lookup.data or lookup.unreadable, lookup.entry
    expired = lookup.state is State.STALE and entry and entry.fresh_until_ms <= time.time() * 1000
    return (EXPIRED if expired else HEAD) + there[: header_length(there)]


class Commits:
    """Stores entries."""

    def __init__(self, link: Link, log: Log, keys: Keys) -> None:
        self._link = link
        self._log = log
        self._keys = keys
        self._script = Script("commit.lua", after=REPLACING)
        self._pending: list[Pending] = []
        link.on_loop.append(self._forget)

    def commit(
        self, cache_type: str, key: str, stored: bytes, ttl_ms: int, condition: bytes = ALWAYS
    ) -> asyncio.Future[Commit]:
        """Queue an entry's stored form for this loop turn's write; the future says what became of it.

        Args:
            cache_type: The key's type.
            key: The key.
            stored: The stored form.
            ttl_ms: Milliseconds after which the server drops it, the stale window included.
            condition: `ALWAYS`, `TAIL`, or `HEAD` or `EXPIRED` and the first bytes of what must be stored
                there now: all of it that the caller's judgement rests on.
        """
        future: asyncio.Future[Commit] = asyncio.Future()
        if not self._pending:
            self._link.before_flush(self._send)
        name = self._keys.entry(cache_type, key)
        self._pending.append((name, stored, max(1, ttl_ms), condition, future))
        return future

    def _forget(self) -> None:
        self._pending = []

    def _send(self) -> None:
        pending, self._pending = self._pending, []
        batch: list[Pending] = []
        size = 0
        for one in pending:
            if batch and (len(batch) == MAX_ENTRIES or size + len(one[1]) > MAX_BYTES):
                self._post(batch)
                batch, size = [], 0
            batch.append(one)
            size += len(one[1])
        if batch:
            self._post(batch)

    def _post(self, batch: Sequence[Pending]) -> None:
        arguments: list[Argument] = [2 + len(batch), self._keys.fence, self._keys.log]
        arguments += [name for name, *_ in batch]
        for _, stored, ttl_ms, condition, _ in batch:
            arguments += (stored, ttl_ms, condition)

        def take(reply: Any) -> None:
            if isinstance(reply, (LinkError, ReplyError)):
                if isinstance(reply, ReplyError) and str(reply).startswith("WRONGTYPE"):
                    self._log.lose()  # the fence, or the log, is a stranger's
                became = unanswered(reply)
                for *_, future in batch:
                    settle(future, became)
            else:
                for one, answer in zip(batch, reply, strict=True):
                    settle(one[-1], Commit.STORED if answer == 1 else self._understand(one, answer))

        try:
            self._script.post(lambda head, handler: self._link.post((*head, *arguments), handler), take)
        except LinkError:
            for *_, future in batch:
                settle(future, Commit.UNREACHABLE)

    def _understand(self, one: Pending, answer: int) -> Commit:
        commit, log = _MEANINGS[answer], self._log
        _, stored, _, condition, _ = one
        of_now = condition == TAIL or int.from_bytes(stored[4:12]) == log.epoch
        if commit in {Commit.LOG_LOST, Commit.OTHER_EPOCH} and of_now:
            log.lose()  # the server knows of an epoch that this process doesn't
        elif commit is Commit.FENCED and of_now and int.from_bytes(stored[12:28]) >= log.seen:
            log.lose()  # no sweep has raised the fence beyond what is known: it is a stranger's
        return commit
