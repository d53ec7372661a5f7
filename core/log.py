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
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from stoker.core.ages import Ages
from stoker.core.appending import Appending, Receipt
from stoker.core.clock import boottime
from stoker.core.epochs import Epoch, open_epoch
from stoker.core.errors import LinkError, ReplyError, StokerError
from stoker.core.history import History
from stoker.core.kept import KeptInvalidations, Notes
from stoker.core.keys import Keys
from stoker.core.link import Link
from stoker.core.position import START, format_position, parse_position
from stoker.core.scopes import Copy, Scope, to_fields

__all__ = ["Check", "InvalidationLog", "Receipt"]

logger = logging.getLogger(__name__)

#: Records one check asks for; when there are more, the reader reads on before it decides.
CHECK_COUNT = 256

#: Checks that one catching up makes at most: a log that grows faster than it can be read is not caught.
CATCH_UP_ROUNDS = 1_000

#: Records one request asks for when much is to be read.
CHUNK_COUNT = 5_000

#: Traces of the newest records, for the log lines of reloads, and how much of each.
MAX_TRACES = 1_000
MAX_TRACE_LENGTH = 200

#: What `proved` is while nothing is: the log may have been silent for ever.
NEVER = float("-inf")


class Check:
    """One look at the log, shared by the reads of one loop turn."""

    __slots__ = ("_callbacks", "at", "complete", "count", "done", "failed", "since", "view", "write")

    def __init__(self, since: bytes, count: int, write: int, view: int) -> None:
        self.since = since
        self.count = count
        """Records it asks for at most."""
        self.write = write
        """The number of the link's write that carries it; a read that begins later needs another one."""
        self.view = view
        """The log's history as it was taken to be; when that was lost since, the check proves nothing."""
        self.at = boottime()
        """When it was queued, by the clock that runs on through suspension."""
        self.done = False
        """The reply has come, or never will."""
        self._callbacks: list[Callable[[], None]] = []
        self.complete = False
        """All records that stood in the log when the server ran the check have been read."""
        self.failed = False
        """The log is not the one that was known: its epoch must be looked up first."""

    async def wait(self) -> None:
        """Wait until it is done; where the log is on a connection of its own, that is not the entries'."""
        if not self.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.then(lambda: None if waiter.done() else waiter.set_result(None))
            await waiter

    def then(self, callback: Callable[[], None]) -> None:
        """Call back once it is done, inside the read callback."""
        if self.done:
            callback()
        else:
            self._callbacks.append(callback)

    def settle(self) -> None:
        """The reply was taken in: tell whoever waits."""
        self.done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class InvalidationLog:
    """One process's view of the log.

    Attributes:
        history: What was read.
        kept: What this process could not append yet.
        seen: The position up to which it was read; a load that starts now is born there.
        epoch_start: Where the epoch began, or 0 where its first record has been trimmed away.
        version: Changes whenever something was learnt that could kill an entry: what was found alive at this
            very version still is.
        proved: When the last completely answered check was *sent*, in seconds of `clock.boottime`: all that
            was acknowledged before is known. `-inf` while nothing is proved in this epoch.
        last_proved: The same, whatever became of the log since.
    """

    def __init__(self, link: Link, keys: Keys, *, read_only: bool = False) -> None:
        self._link = link
        self._keys = keys
        self._read_only = read_only
        self.history = History()
        self._appending = Appending(
            link, keys, appended=self._take_own, find_log=self._find_log, keep=self._keep
        )
        self.kept = KeptInvalidations(self._appending.append, link.wait_ready)
        self.ages = Ages()
        self._swept_note = START
        self._swept_nodes = frozenset[str]()
        """The servers of a cluster that the last sweep went over, by their names of then."""
        link.on_masters = self._masters_changed
        self.version = 0
        self.proved = NEVER
        self.last_proved = NEVER
        self._view = 0
        self._behind = False
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
    def last_epoch(self) -> int:
        """The epoch that was known last; 0 before the first."""
        return self._epoch

    @property
    def known(self) -> int:
        """The position up to which all that this process knows to be acknowledged stands in the log.

        Beyond `seen`, there may be appends of its own.
        """
        return max(self.seen, self._own)

    @property
    def known_from(self) -> int:
        """All records after this position are known; what was born before it can't be judged from them.

        (Of entries in Redis the sweep has unlinked what records up to `history.swept` killed: for them,
        `history.horizon` is enough.)
        """
        return max(self.history.horizon, self.history.swept)

    @property
    def trusted_from(self) -> int:
        """On a cluster: entries born before may be back from the dead, as if of an older epoch; else START.

        One that the sweep unlinked comes back when a replica takes over that had not heard of it, or a server
        is started from a snapshot; and what killed it is no longer in the log.
        """
        swept = self._swept_nodes
        if not self._link.is_cluster or (swept and swept <= self._link.masters):
            return START
        return self.history.swept

    def _masters_changed(self) -> None:
        self.version += 1

    def check(self) -> Check:
        """Queue a look at the log into this loop turn's write, before what the caller queues next.

        When the reply to a command queued after it has come, the check has been taken in.

        Raises:
            LinkError: The link is down.
        """
        check = self._check
        if check is None or check.write != self._link.writes:
            taken = check = Check(
                self._seen_id, CHUNK_COUNT if self._behind else CHECK_COUNT, self._link.writes, self._view
            )
            self._link.post(
                ("XRANGE", self._keys.log, check.since, "+", "COUNT", check.count),
                lambda reply: self._take(taken, reply),
            )
            self._check = check
        return check

    async def catch_up(self) -> bool:
        """Read on until the end of the log; say whether it was reached and the log's epoch is known."""
        for _ in range(CATCH_UP_ROUNDS):
            try:
                check = self.check()
            except LinkError:
                return False
            await check.wait()
            if check.complete and self._known:
                return True
            if check.failed and self._known:
                return False  # the server does not answer
            if not self._known and not await self.resync():
                return False
        return False

    def killer(self, cache_type: str, key: str, tags: Sequence[bytes], born: int) -> int:
        """A record that killed what was born at `born`, or 0: of the log, or one of ours that is kept."""
        return self.history.killer(cache_type, key, tags, born) or self.kept.killer(cache_type, key, tags)

    def copy_killer(self, cache_type: str, key: str, after: int) -> int:
        """A record after a position that names an entry's copies in memory, or 0: of the log, or kept."""
        return self.history.copy_killer(cache_type, key, after) or self.kept.copy_killer(cache_type, key)

    async def records(self, first: int, last_id: str, count: int) -> list[Any]:
        """Read the records from a position up to an id, as they stand in the log now.

        Raises:
            LinkError: The server can't be reached.
            ReplyError: It refuses.
        """
        found: list[Any] = await self._link.call(
            "XRANGE", self._keys.log, format_position(first), last_id, "COUNT", count
        )
        return found

    def trace_of(self, position: int) -> str | None:
        """The trace id that the record at a position carried, if it is among the newest."""
        return self._traces.get(position)

    def _take(self, check: Check, reply: Any) -> None:
        if isinstance(reply, (LinkError, ReplyError)):
            check.failed = True
        elif reply and reply[0][0] == check.since:
            if len(reply) > 1:
                self._take_records(reply[1:])
            check.complete = len(reply) < check.count
        elif self._read_only and check.since == b"0-0":
            self._take_records(reply)  # there was no log to find a place in
            check.complete = len(reply) < check.count
        else:
            check.failed = True
            self.lose()
        if check.complete and self._known and check.view == self._view:
            self.proved = self.last_proved = max(self.proved, check.at)
        self._behind = not check.complete and not check.failed
        check.settle()

    def _take_records(self, records: list[Any]) -> None:
        proved = self.proved
        for stream_id, fields in records:
            position = parse_position(stream_id)
            if position <= self.seen:
                continue  # another check in flight brought it already
            if b"epoch" in fields[::2]:
                self.lose()  # the group on the log says which epoch it is, not the record
            self.history.add(position, fields)
            self._take_notes(position, fields)
            self.seen, self._seen_id = position, stream_id
            self.version += 1
        self.ages.note(self.seen, proved)

    def _take_notes(self, position: int, fields: list[bytes]) -> None:
        for name, value in zip(fields[::2], fields[1::2], strict=False):
            if name == b"_swept":
                self._forget(value)
            if name == b"_nodes" and position > self._swept_note:
                self._swept_note, self._swept_nodes = position, frozenset(value.decode().split(","))
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
        self._forget_all_known()
        if self._resyncing is None or self._resyncing.done():
            self._resyncing = asyncio.create_task(self._resync_quietly(), name="stoker-log-resync")

    async def resync(self) -> bool:
        """Wait until the log was looked at anew, where that is under way; say whether it is known now."""
        if self._resyncing is not None:
            await asyncio.wait([self._resyncing])
        return self._known

    async def close(self) -> None:
        """Stop what goes on in the background."""
        await self._appending.close()
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

    def _forget_all_known(self) -> None:
        self._known = False
        self.proved = NEVER
        self._view += 1
        self.version += 1

    async def _find_log(self) -> None:
        self.lose()
        await self.resync()

    async def _on_open(self) -> None:
        """Find the epoch, or open one, and read the newest records."""
        # A new connection and a resync may come together: two readings at once would mix.
        async with self._opening:
            self._forget_all_known()
            self._check, self._own = None, START  # in a new epoch, ids may run backwards
            epoch = await open_epoch(self._link, self._keys, read_only=self._read_only)
            self._epoch = epoch.number
            self.epochs_opened += epoch.opened
            at = boottime()
            await self._read_newest(epoch)
            self._known, self.proved, self.last_proved = True, at, at
            self.version += 1

    async def _read_newest(self, epoch: Epoch) -> None:
        """Read backwards, newest first, until the log's beginning or as much as is kept.

        Records of older epochs count too: in a log that lived on, what they killed is dead for good.
        """
        history, number = self.history, f"{epoch.number:016x}".encode()
        history.clear()
        self.epoch_start = self._swept_note = START
        self._swept_nodes = frozenset[str]()
        newest: tuple[int, bytes] = (START, b"0-0")
        oldest, end = START, b"+"
        while True:
            records = await self._link.call_early("XREVRANGE", self._keys.log, end, "-", "COUNT", CHUNK_COUNT)
            for stream_id, fields in records:
                position = oldest = parse_position(stream_id)
                newest = max(newest, (position, stream_id))
                history.add_older(position, fields)
                self._take_notes(position, fields)
                if fields[:2] == [b"epoch", number]:
                    self.epoch_start = position
            if len(records) < CHUNK_COUNT or history.full:
                break
            end = b"(" + records[-1][0]
        # A log that begins at its floor was cut by the sweep, which first unlinked what was dead. One that
        # begins elsewhere was cut by somebody else (or is too long to be kept): what lies before is unknown.
        history.horizon = START if oldest == epoch.floor else oldest
        history.swept = max(history.swept, epoch.floor)
        self.seen, self._seen_id = newest
        self.ages.restart(self.seen)

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
            return await self._appending.append(scopes, notes)
        except (LinkError, ReplyError):
            if keep:
                self._keep(scopes, notes)
            return Receipt(None)

    async def tell(self, *scopes: Scope | Copy) -> int:
        """Append what overwrites name; all that is told in one turn of the event loop shares one record.

        Returns:
            The position of the record; 0 when it could not be appended: then it is kept.

        Raises:
            UsageError: A scope can't be written.
        """
        return await self._appending.tell(scopes)

    def _keep(self, scopes: Sequence[Scope | Copy], notes: Notes) -> None:
        self.kept.add(scopes, notes)
        self.version += 1

    def _take_own(self, position: int, fields: Sequence[str]) -> None:
        # Into the table at once, for reads under way here; `seen` stays: the records of others may lie in
        # between.
        self._own = max(self._own, position)
        self.history.add(position, [text.encode() for text in fields])
        self.version += 1
