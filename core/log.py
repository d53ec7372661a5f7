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
from stoker.core.kept import KeptInvalidations, Notes
from stoker.core.keys import Keys
from stoker.core.link import Link
from stoker.core.position import START, parse_position
from stoker.core.scopes import Scope, to_fields

logger = logging.getLogger(__name__)

#: Records one check asks for; when there are more, the reader reads on before it decides.
CHECK_COUNT = 256

#: Records one request asks for when much is to be read.
CHUNK_COUNT = 5_000

#: Scopes in one record at most; more become several records.
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
        kept: What this process could not append yet.
        seen: The position up to which it was read; a load that starts now is born there.
        epoch_start: Where the epoch began, or 0 where its first record has been trimmed away.
    """

    def __init__(self, link: Link, keys: Keys, *, read_only: bool = False) -> None:
        self._link = link
        self._keys = keys
        self._read_only = read_only
        self.history = History()
        self.kept = KeptInvalidations(self._append, link.wait_ready)
        self.seen = START
        self.epoch_start = START
        self._seen_id = b"0-0"
        self._own = START
        self._epoch = 0
        self._known = False
        self._check: Check | None = None
        self._resyncing: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._resync_failed = False
        self._traces: OrderedDict[int, str] = OrderedDict()
        self.epochs_opened = 0
        link.on_open = self._on_open

    # -- reading ----------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The log's epoch; 0 while it is not known, and then nothing may be served or stored."""
        return self._epoch if self._known else 0

    @property
    def known(self) -> int:
        """The position up to which all that this process knows to be acknowledged stands in the log.

        Beyond `seen`, there may be appends of its own.
        """
        return max(self.seen, self._own)

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
        """Read on until the end of the log; say whether it was reached and the log's epoch is known."""
        for _ in range(1_000):
            try:
                check = self.check()
                await self._link.call("PING")
            except (LinkError, ReplyError):
                return False
            if check.complete and self._known:
                return True
            if not self._known and not await self.resync():
                return False
        return False

    def killer(self, cache_type: str, key: str, tags: Sequence[bytes], born: int) -> int:
        """A record that killed what was born at `born`, or 0: of the log, or one of ours that is kept."""
        return self.history.killer(cache_type, key, tags, born) or self.kept.killer(cache_type, key, tags)

    def trace_of(self, position: int) -> str | None:
        """The trace id that the record at a position carried, if it is among the newest."""
        return self._traces.get(position)

    def _take(self, check: Check, reply: Any) -> None:
        if isinstance(reply, (LinkError, ReplyError)):
            check.failed = True
        elif reply and reply[0][0] == check.since:
            if len(reply) > 1:
                self._take_records(reply[1:])
            check.complete = len(reply) < CHECK_COUNT
        elif self._read_only and check.since == b"0-0":
            self._take_records(reply)  # there was no log to find a place in
            check.complete = len(reply) < CHECK_COUNT
        else:
            check.failed = True
            self.lose()

    def _take_records(self, records: list[Any]) -> None:
        for stream_id, fields in records:
            position = parse_position(stream_id)
            if position <= self.seen:
                continue  # another check in flight brought it already
            if b"epoch" in fields[::2]:
                self.lose()  # the group on the log says which epoch it is, not the record
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

    # -- epochs -----------------------------------------------------------------------------------

    def lose(self) -> None:
        """The log is not as it was: serve nothing from it until it was looked at anew."""
        self._known = False
        if self._resyncing is None or self._resyncing.done():
            self._resyncing = asyncio.create_task(self._resync_quietly(), name="stoker-log-resync")

    async def resync(self) -> bool:
        """Wait until the log was looked at anew, where that is under way; say whether it is known now."""
        if self._resyncing is not None:
            await asyncio.wait([self._resyncing])
        return self._known

    async def close(self) -> None:
        """Stop what goes on in the background."""
        await self.kept.close()
        if self._resyncing is not None:
            self._resyncing.cancel()
            await asyncio.gather(self._resyncing, return_exceptions=True)

    async def _resync_quietly(self) -> None:
        try:
            await self._on_open()
            self._resync_failed = False
        except (LinkError, ReplyError) as error:
            if not self._resync_failed:
                self._resync_failed = True
                logger.warning(
                    "action=log_resync_failed reason=%s", error, extra={"action": "log_resync_failed"}
                )

    async def _on_open(self) -> None:
        """Find the epoch, or open one, and read the newest records."""
        # A new connection and a resync may come together: two readings at once would mix.
        async with self._opening:
            self._known = False
            self._check = None
            call = self._link.call_early
            run_id = _run_id(await call("INFO", "server"))
            epoch = secrets.randbits(64) | 1
            group, fence = await call(
                "EVAL",
                _OPEN_EPOCH,
                2,
                self._keys.log,
                self._keys.fence,
                f"{epoch:016x}",
                run_id,
                "look" if self._read_only else "open",
            )
            # Who only looks, and finds no epoch, takes one that no entry has: all are of an older one.
            self._epoch = int(group[6:22], 16) if group else epoch
            if self._epoch == epoch and not self._read_only:
                self.epochs_opened += 1
                logger.warning("action=epoch_opened epoch=%016x", epoch, extra={"action": "epoch_opened"})
            await self._read_newest(_floor(fence))
            self._known = True

    async def _read_newest(self, floor: int) -> None:
        """Read backwards, newest first, until the log's beginning or as much as is kept.

        Records of older epochs count too: in a log that lived on, what they killed is dead for good.
        """
        history, epoch = self.history, f"{self._epoch:016x}".encode()
        history.clear()
        self.epoch_start = START
        newest: tuple[int, bytes] = (START, b"0-0")
        oldest, end = START, b"+"
        while True:
            records = await self._link.call_early("XREVRANGE", self._keys.log, end, "-", "COUNT", CHUNK_COUNT)
            for stream_id, fields in records:
                position = oldest = parse_position(stream_id)
                newest = max(newest, (position, stream_id))
                history.add_older(position, fields)
                self._take_notes(position, fields)
                if fields[:2] == [b"epoch", epoch]:
                    self.epoch_start = position
            if len(records) < CHUNK_COUNT or history.full:
                break
            end = b"(" + records[-1][0]
        # A log that begins at its floor was cut by the sweep, which first unlinked what was dead. One that
        # begins elsewhere was cut by somebody else (or is too long to be kept): what lies before is unknown.
        history.horizon = START if oldest == floor else oldest
        history.swept = max(history.swept, floor)
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
        """Append invalidations.

        Args:
            scopes: What to invalidate.
            by: Who asks.
            trace: An id, or several with commas between, that lead from the cause to the reloads.
            reason: Why.
            keep: Whether to keep them while the server can't take them, and append them when it can.

        Raises:
            UsageError: A scope can't be written.
        """
        given = {"_by": by, "_trace": trace, "_reason": reason}
        notes = {name: text for name, text in given.items() if text}
        to_fields(scopes)  # raises before anything is sent or kept
        try:
            return await self._append(scopes, notes)
        except (LinkError, ReplyError):
            if keep:
                self.kept.add(scopes, notes)
            return Receipt(None)

    async def _append(self, scopes: Sequence[Scope], notes: Notes) -> Receipt:
        """Append, as one record or as few as hold them all; the receipt names the last.

        Raises:
            LinkError: The server can't be reached, or loses the log again and again.
            ReplyError: It refuses.
        """
        receipt = Receipt(None)
        for start in range(0, len(scopes), MAX_RECORD_SCOPES):
            part = scopes[start : start + MAX_RECORD_SCOPES]
            receipt = await self._append_record(to_fields(part) + [t for pair in notes.items() for t in pair])
        return receipt

    async def _append_record(self, flat: list[str]) -> Receipt:
        for _ in range(3):
            stream_id = await self._link.call("XADD", self._keys.log, "NOMKSTREAM", "*", *flat)
            if stream_id is not None:
                # Into the table at once, for reads under way here; `seen` stays: the records of others
                # may lie in between.
                self._own = parse_position(stream_id)
                self.history.add(self._own, [text.encode() for text in flat])
                return Receipt(stream_id.decode())
            self.lose()
            await self.resync()
        raise LinkError("the log was lost again and again")


def _floor(fence: bytes) -> int:
    """Where the log begins by right, from the fence's third part; START where that isn't known."""
    floor = fence.split(b":")[2:3]
    return parse_position(floor[0]) if floor and floor[0] else START


def _run_id(info: bytes) -> str:
    for line in info.split(b"\r\n"):
        if line.startswith(b"run_id:"):
            return line[7:].decode()
    return "unknown"  # a service that hides it: then only the log's loss opens an epoch
