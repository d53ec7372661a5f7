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
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from stoker.core.background import spawn
from stoker.core.clock import boottime
from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link.calls import Command
from stoker.core.link.link import Link
from stoker.core.link.packing import pack
from stoker.core.log.appending import Appending, Receipt
from stoker.core.log.assurance import Assurance
from stoker.core.log.backlog import MOST_FIELDS, Backlog
from stoker.core.log.check import Check
from stoker.core.log.epochs import Epoch, open_epoch
from stoker.core.log.history import History
from stoker.core.log.kept import Notes
from stoker.core.log.knowledge import NEVER, Log, T
from stoker.core.log.position import START, format_position, parse_position
from stoker.core.log.resyncing import Resyncing
from stoker.core.log.scopes import Copy, Scope

__all__ = ["Check", "InvalidationLog", "Log", "Receipt"]

logger = logging.getLogger(__name__)

#: Records one check asks for; when there are more, the reader reads on before it decides: then so many at
#: most, and fewer where they are large.
CHECK_COUNT = 256
CHUNK_COUNT = 5_000

#: Checks that one catching up makes at most: a log that grows faster than it can be read is not caught.
CATCH_UP_ROUNDS = 1_000

#: Seconds between looks at whether the log has been read back, and after which the server is asked again.
READ_BACK_LOOK_SECONDS = 0.1
READ_BACK_PAUSE_SECONDS = 1.0


class InvalidationLog(Log):
    """One process's view of the fleet's log.

    Args:
        link: The connection.
        keys: Names the log and its fence.
        read_only: For looking: no epoch is opened where there is none.
        assurance: What must have happened to an append before it is acknowledged, where it is more than that
            it stands in the log.
        allow_eviction: Whether the server may have an eviction policy that can remove the log.

    Attributes:
        unfit: Why the server is not fit to hold the log, with what to do; empty where it is.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        *,
        read_only: bool = False,
        assurance: Assurance | None = None,
        allow_eviction: bool = False,
    ) -> None:
        self._appending = Appending(
            link, keys, appended=self._take_own, find_log=self._find_log, keep=self._keep, assurance=assurance
        )
        super().__init__(self._appending.append, link.wait_ready)
        self._link = link
        self._keys = keys
        self._read_only = read_only
        self._allow_eviction = allow_eviction
        self.unfit = ""
        self._swept_note = START
        self._swept_nodes = frozenset[str]()
        """The servers of a cluster that the last sweep went over, by their names of then."""
        self._behind, self._chunk_count = False, CHUNK_COUNT
        self._take_failed = False
        self._seen_id = b"0-0"
        self._check: Check | None = None
        self._packed_look = b"", 0, b""
        """The command of the last check, and of what it was made: most are the same."""
        self._resyncing = Resyncing(
            self._on_open, lose=self.lose, is_known=lambda: self._known, ready=link.wait_ready
        )
        self._opening = asyncio.Lock()
        self._unread: History | None = None
        """What becomes the history once the log's newest records have been read."""
        self._own_since = START
        self._backlog: Backlog | None = None
        self._reading_back: asyncio.Task[None] | None = None
        link.on_open = self._on_open
        link.on_masters = self._masters_changed

    # -- reading ----------------------------------------------------------------------------------

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

    def check(self, loop: asyncio.AbstractEventLoop | None = None) -> Check:
        """Queue a look at the log into this loop turn's write, before what the caller queues next.

        When the reply to a command queued after it on the same connection has come, it is done.

        Args:
            loop: Of a caller that posts a packed command at once, the event loop that runs: the look leaves
                with that.

        Raises:
            LinkError: The link is down.
        """
        check, link = self._check, self._link
        if check is None or check.write != link.writes:
            count = self._chunk_count if self._behind else CHECK_COUNT
            check = Check(self._seen_id, count, link.writes, self.view)
            take = partial(self._take, check)
            if loop is None or link.is_cluster:
                link.post(self._look(check.since, count), take)
            else:
                if self._packed_look[:2] != (check.since, count):
                    self._packed_look = check.since, count, pack(self._look(check.since, count))
                link.post_packed(self._packed_look[2], take, loop, more=True)
            self._check = check
        return check

    def _look(self, since: bytes, count: int) -> Command:
        return ("XRANGE", self._keys.log, since, "+", "COUNT", count)

    async def catch_up(self) -> bool:
        """Read on until the end of the log; say whether it was reached and the log's epoch is known."""
        for _ in range(CATCH_UP_ROUNDS):
            try:
                check = self.check()
            except LinkError:
                return False
            await check.wait()
            if check.view != self.view or not self._known:
                if not await self.resync():
                    return False
            elif check.complete:
                return True
            elif check.failed:
                return False  # the server does not answer
        return False

    async def read_back(self) -> bool:
        """Wait until the log has been read back as far as is kept; say whether it is, and known."""
        while await self.catch_up() and self._backlog is not None:
            if self._backlog.done:
                return True
            if self._reading_back is not None:
                await asyncio.wait([self._reading_back], timeout=READ_BACK_LOOK_SECONDS)
        return False

    async def _clock_ms(self) -> int:
        try:
            seconds, micros = await self._link.call("TIME")
        except (LinkError, ReplyError):
            return 0
        return int(seconds) * 1000 + int(micros) // 1000

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

    def _take(self, check: Check, reply: Any) -> None:
        try:
            self._take_reply(check, reply)
        except Exception:  # whoever waits must be told, whatever strangers have put into the log
            check.failed, check.complete = True, False
            if not self._take_failed:
                self._take_failed = True
                logger.exception("action=log_unreadable", extra={"action": "log_unreadable"})
        finally:
            check.settle()

    def _take_reply(self, check: Check, reply: Any) -> None:
        if isinstance(reply, (LinkError, ReplyError)) or check.view != self.view or not self._known:
            # While the log is looked at anew, what a check brings has no place: neither in what was known,
            # which is about to go, nor in what will be, which may end before it.
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
        if check.complete and check.view == self.view:
            self.proved = self.last_proved = max(self.proved, check.at)
        self._behind = not check.complete and not check.failed

    def _take_records(self, records: list[Any]) -> None:
        proved, fields_seen = self.proved, 0
        for stream_id, fields in records:
            fields_seen += len(fields) // 2
            position = parse_position(stream_id)
            if position <= self.seen:
                continue  # another check in flight brought it already
            if b"epoch" in fields[::2]:
                self.lose()  # the group on the log says which epoch it is, not the record
            self.history.add(position, fields)
            self._take_notes(self.history, position, fields)
            self.seen, self._seen_id = position, stream_id
            self.version += 1
        # One more than the last known, so that there is progress, however large the records are.
        fitting = MOST_FIELDS * len(records) // max(1, fields_seen)
        self._chunk_count = max(2, min(CHUNK_COUNT, fitting))
        self.ages.note(self.seen, proved)

    def _take_note(self, history: History, position: int, name: bytes, value: bytes) -> None:
        super()._take_note(history, position, name, value)
        if name == b"_nodes" and position > self._swept_note:
            self._swept_note = position
            self._swept_nodes = frozenset(value.decode(errors="replace").split(","))

    # -- epochs -----------------------------------------------------------------------------------

    def lose(self) -> None:
        """The log is not as it was: serve nothing from it until it was looked at anew."""
        self._doubt()
        self._resyncing.begin()

    async def resync(self) -> bool:
        """Wait until the log was looked at anew, where that is under way; say whether it is known now."""
        await self._resyncing.wait()
        return self._known

    async def close(self) -> None:
        """Stop what goes on in the background."""
        await self._appending.close()
        await self.kept.close()
        await self._resyncing.close()
        if self._reading_back is not None and not self._reading_back.done():
            self._reading_back.cancel()
            await asyncio.gather(self._reading_back, return_exceptions=True)
        self._opening = asyncio.Lock()  # the next connection may be on another event loop

    def _doubt(self) -> None:
        """What is known may be of another log; it stays what is obeyed until the log has been read anew."""
        self._known, self.epoch = False, 0
        self.proved = NEVER
        self._change_view()
        if self._reading_back is not None:
            self._reading_back.cancel()

    def _change_view(self) -> None:
        """From now on, what is under way proves nothing."""
        self.view += 1
        self.version += 1
        self._check = None

    async def _find_log(self) -> None:
        self.lose()
        await self.resync()

    async def _on_open(self) -> None:
        """Find the epoch, or open one, and read the newest records; older ones in the background."""
        # A new connection and a resync may come together: two readings at once would mix.
        async with self._opening:
            while not await self._look_anew():
                pass

    async def _look_anew(self) -> bool:
        """Say whether the log is known now: not if it was found lost again meanwhile."""
        self._doubt()
        view = self.view
        epoch = await open_epoch(self._link, self._keys, read_only=self._read_only)
        self.epochs_opened += epoch.opened
        self._judge_server(epoch)
        history, at = History(), boottime()
        self._unread, self._own_since = history, START
        self._swept_note, self._swept_nodes = START, frozenset[str]()
        backlog = Backlog(self._keys, history, self._take_notes, epoch.number)
        try:
            await backlog.read(self._link.call_early)
        finally:
            self._unread = None
        if self.view != view:
            return False
        self.history, self._own = history, self._own_since
        self.epoch = self.last_epoch = epoch.number
        self.epoch_start = backlog.epoch_start
        self.seen, self._seen_id = backlog.newest
        self.ages.restart(self.seen)
        self._known, self.proved, self.last_proved = True, at, at
        self._change_view()
        self._backlog = backlog
        if not backlog.done:
            self._reading_back = spawn(self._read_back(backlog), "stoker-log-backlog")
        return True

    async def _read_back(self, backlog: Backlog) -> None:
        while not backlog.done:
            try:
                await self._link.wait_ready()
                await backlog.read(self._link.call)
            except (LinkError, ReplyError):
                await asyncio.sleep(READ_BACK_PAUSE_SECONDS)
            self.epoch_start = backlog.epoch_start
            self.version += 1  # what was taken for dead may be alive

    def _judge_server(self, epoch: Epoch) -> None:
        unfit = "" if self._allow_eviction else epoch.unfit
        if unfit and unfit != self.unfit:
            logger.error("action=server_unfit reason=%s", unfit, extra={"action": "server_unfit"})
        self.unfit = unfit

    # -- appending --------------------------------------------------------------------------------

    async def carry_out(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """See something to its end that others are told of, also when the caller gives up waiting."""
        return await self._appending.carry_out(work, name)

    async def _append(self, scopes: Sequence[Scope], notes: Notes, *, keep: bool) -> Receipt:
        if keep:
            return await self._appending.append_or_keep(scopes, notes)
        try:
            return await self._appending.append(scopes, notes)
        except (LinkError, ReplyError):
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
        record = [text.encode() for text in fields]
        self.history.add(position, record)
        self._own = max(self._own, position)
        if self._unread is not None:
            self._unread.add(position, record)
            self._own_since = max(self._own_since, position)
        self.version += 1
