"""The invalidation log: one Redis stream that is the clock of the whole fleet.

To invalidate is to append; to read is to check what was appended since the entry was born. This module
keeps one process's view of the log: its epoch, how far it has read, and what it read (`History`).

A check is `XRANGE log <last seen> + COUNT n`. It begins *at* the last record seen, so a log that was lost,
trimmed beyond that record or made anew shows at once: the record is no longer there. It travels in the
same write as the fetches that rely on it, before them, and is shared by all reads of one loop turn.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from stoker.core.errors import LinkError, ReplyError, StokerError
from stoker.core.history import History
from stoker.core.keys import Keys
from stoker.core.link import Link
from stoker.core.position import START, parse_position
from stoker.core.scopes import Scope, narrowest, to_fields

logger = logging.getLogger(__name__)

#: Records one check asks for; when there are more, the reader reads on before it decides.
CHECK_COUNT = 256

#: Records one request asks for when much is to be read.
CHUNK_COUNT = 5_000

#: Scopes that are kept while the server is away; more are widened, none is dropped.
MAX_QUEUED_SCOPES = 10_000

#: Scopes in one record at most.
MAX_RECORD_SCOPES = 5_000

#: Traces of the newest records, for the log lines of reloads, and how much of each.
MAX_TRACES = 1_000
MAX_TRACE_LENGTH = 200

_OPEN_EPOCH = (files("stoker.core") / "open_epoch.lua").read_text()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an invalidation is answered with.

    It is acknowledged once it stands in the log: every strict read that begins later obeys it. While the
    server is away it is kept, and appended when it is back; then `log_id` is None.
    """

    log_id: str | None

    @property
    def acknowledged(self) -> bool:
        """Whether it stands in the log."""
        return self.log_id is not None


class Check:
    """One look at the log, shared by the reads of one loop turn."""

    __slots__ = ("complete", "failed", "since", "write")

    def __init__(self, since: bytes, write: int) -> None:
        self.since = since
        self.write = write
        """The number of the link's write that carries it; a read that begins later needs another one."""
        self.complete = False
        """All records that stood in the log when the server ran the check have been read."""
        self.failed = False
        """The log is not the one that was known: its epoch must be looked up first."""


class InvalidationLog:
    """One process's view of the log.

    Attributes:
        history: What was read.
        seen: The position up to which it was read; a load that starts now is born there.
    """

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self.history = History()
        self.seen = START
        self._seen_id = b"0-0"
        self._check: Check | None = None
        self._known = False
        self._resyncing: asyncio.Task[None] | None = None
        self._queued: list[Scope] = []
        self._traces: OrderedDict[int, str] = OrderedDict()
        self.kept_total = 0
        """Times invalidations were kept for want of a server."""
        self.epochs_opened = 0
        self.appended = 0
        link.on_open = self._on_open

    # -- reading ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The log's epoch; 0 while it is not known, and then nothing may be served or stored."""
        return self.history.epoch if self._known else 0

    def check(self) -> Check:
        """Queue a look at the log into this loop turn's write, before what the caller queues next.

        When the reply to a command queued after it has come, the check has been taken in.

        Raises:
            LinkError: The link is down.
        """
        check = self._check
        if check is None or check.write != self._link.writes:
            taken = check = Check(self._seen_id, self._link.writes)
            self._link.post(
                ("XRANGE", self._keys.log, check.since, "+", "COUNT", CHECK_COUNT),
                lambda reply: self._take(taken, reply),
            )
            self._check = check
        return check

    async def catch_up(self) -> bool:
        """Read on until the end of the log; say whether it was reached and is the log that was known."""
        for _ in range(1_000):
            try:
                check = self.check()
                await self._link.call("PING")
            except (LinkError, ReplyError):
                return False
            if check.complete:
                return True
            if check.failed:
                await self.resync()
        return False

    def killer(self, cache_type: str, key: str, tags: Sequence[bytes], born: int) -> int:
        """The record that killed what was born at `born`, or 0; see `History.killer`."""
        return self.history.killer(cache_type, key, tags, born)

    def trace_of(self, position: int) -> str | None:
        """The trace id that the record at a position carried, if it is among the newest."""
        return self._traces.get(position)

    def _take(self, check: Check, reply: Any) -> None:
        if isinstance(reply, (LinkError, ReplyError)):
            check.failed = True
        elif not reply or reply[0][0] != check.since:
            check.failed = True
            self._lose()
        else:
            if len(reply) > 1:
                self._take_records(reply[1:])
            check.complete = len(reply) < CHECK_COUNT

    def _take_records(self, records: list[Any]) -> None:
        for stream_id, fields in records:
            position = parse_position(stream_id)
            if position <= self.seen:
                continue  # another check in flight brought it already
            if b"epoch" in fields[::2]:
                self._enter_epoch(fields, position)
            self.history.add(position, fields)
            self._take_notes(position, fields)
            self.seen, self._seen_id = position, stream_id

    def _take_notes(self, position: int, fields: list[bytes]) -> None:
        for name, value in zip(fields[::2], fields[1::2], strict=False):
            if name == b"_swept":
                self._forget(value)
            if name == b"_trace":
                self._traces[position] = value[:MAX_TRACE_LENGTH].decode(errors="replace")
                if len(self._traces) > MAX_TRACES:
                    self._traces.popitem(last=False)

    def _forget(self, stream_id: bytes) -> None:
        try:
            self.history.forget(parse_position(stream_id))
        except StokerError:
            return  # a stranger's note

    def _enter_epoch(self, fields: list[bytes], position: int) -> None:
        named = dict(zip(fields[::2], fields[1::2], strict=False))
        self.history.enter(int(named[b"epoch"], 16), position)

    def _lose(self) -> None:
        """The log is not as it was: serve nothing from it until it was looked at anew."""
        self._known = False
        if self._resyncing is None or self._resyncing.done():
            self._resyncing = asyncio.create_task(self._resync_quietly(), name="stoker-log-resync")

    # -- epochs -----------------------------------------------------------------------------------

    async def resync(self) -> None:
        """Wait until the log was looked at anew, where that is under way."""
        if self._resyncing is not None:
            await asyncio.wait([self._resyncing])

    async def _resync_quietly(self) -> None:
        try:
            await self._on_open()
        except (LinkError, ReplyError) as error:
            logger.warning("action=log_resync_failed reason=%s", error, extra={"action": "log_resync_failed"})

    async def _on_open(self) -> None:
        """Find the epoch (or open one), read the newest records, append what was kept."""
        self._known = False
        self._check = None
        call = self._link.call_early
        run_id = _run_id(await call("INFO", "server"))
        epoch = secrets.randbits(64) | 1
        group, fence = await call(
            "EVAL", _OPEN_EPOCH, 2, self._keys.log, self._keys.fence, f"{epoch:016x}", run_id
        )
        found = int(group[6:22], 16)
        if found == epoch:
            self.epochs_opened += 1
            logger.warning("action=epoch_opened epoch=%016x", epoch, extra={"action": "epoch_opened"})
        await self._read_newest(found, parse_position(fence.partition(b":")[2]))
        self._known = True
        if self._queued:
            scopes, self._queued = self._queued, []
            try:
                await self._append(scopes, {"_reason": "kept while the server was away"}, early=True)
            except (LinkError, ReplyError):
                self._queued = scopes + self._queued
                raise

    async def _read_newest(self, epoch: int, fence: int) -> None:
        """Read backwards, newest first, until the log's beginning or as much as is kept."""
        history = self.history
        newest = (self.seen, self._seen_id) if history.epoch == epoch else (START, b"0-0")
        history.enter(epoch, START)
        oldest, end = START, b"+"
        while True:
            records = await self._link.call_early("XREVRANGE", self._keys.log, end, "-", "COUNT", CHUNK_COUNT)
            for stream_id, fields in records:
                position = oldest = parse_position(stream_id)
                newest = max(newest, (position, stream_id))
                history.add_older(position, fields)
                self._take_notes(position, fields)
                if b"epoch" in fields[::2] and history.epoch_start == START:
                    history.epoch_start = history.horizon = position  # nothing of this epoch is older
            if history.horizon:
                break
            if len(records) < CHUNK_COUNT:
                # All that is there was read. It begins at the fence after a sweep, which unlinked what
                # older records killed; if it begins later, somebody else cut it, and what they cut is lost.
                if oldest != fence:
                    history.horizon = oldest
                break
            if history.full:
                history.horizon = oldest
                break
            end = b"(" + records[-1][0]
        self.seen, self._seen_id = newest

    # -- appending --------------------------------------------------------------------------------

    async def append(
        self,
        scopes: Sequence[Scope],
        *,
        by: str | None = None,
        trace: str | None = None,
        reason: str | None = None,
        keep: bool = True,
    ) -> Receipt:
        """Append invalidations, as one record.

        Args:
            scopes: What to invalidate.
            by: Who asks.
            trace: An id, or several with commas between, that lead from the cause to the reloads.
            reason: Why.
            keep: Whether to keep them while the server is away, and append them when it is back.

        Raises:
            UsageError: A scope can't be written.
        """
        notes = {"_by": by, "_trace": trace, "_reason": reason}
        to_fields(scopes)  # raises before anything is sent or kept
        try:
            return await self._append(scopes, {name: text for name, text in notes.items() if text})
        except (LinkError, ReplyError) as error:
            if isinstance(error, ReplyError):
                logger.warning("action=append_refused reason=%s", error, extra={"action": "append_refused"})
            if keep:
                self.keep(scopes)
            return Receipt(None)

    def keep(self, scopes: Sequence[Scope]) -> None:
        """Keep invalidations until the server is back; more than the bound are widened, none is dropped."""
        self.kept_total += 1
        self._queued = narrowest([*self._queued, *scopes], limit=MAX_QUEUED_SCOPES)

    @property
    def queued(self) -> int:
        """Invalidations that are kept until the server is back."""
        return len(self._queued)

    async def _append(
        self, scopes: Sequence[Scope], notes: dict[str, str], *, early: bool = False
    ) -> Receipt:
        scopes = narrowest(scopes, limit=MAX_RECORD_SCOPES)
        flat = to_fields(scopes) + [text for pair in notes.items() for text in pair]
        call = self._link.call_early if early else self._link.call
        for _ in range(3):
            stream_id = await call("XADD", self._keys.log, "NOMKSTREAM", "*", *flat)
            if stream_id is not None:
                # Into the table at once, for reads under way here; `seen` stays: the records of others
                # may lie in between.
                self.history.add(parse_position(stream_id), [text.encode() for text in flat])
                self.appended += 1
                return Receipt(stream_id.decode())
            self._lose()
            await self.resync()
        raise LinkError("the log was lost again and again")


def _run_id(info: bytes) -> str:
    for line in info.split(b"\r\n"):
        if line.startswith(b"run_id:"):
            return line[7:].decode()
    return "unknown"  # a service that hides it: then only the log's loss opens an epoch
