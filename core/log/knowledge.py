"""What a process knows of invalidations, wherever they are kept: in the fleet's log, or in itself alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from stoker.core.clock import boottime
from stoker.core.errors import StokerError
from stoker.core.log.ages import Ages
from stoker.core.log.appending import Receipt
from stoker.core.log.check import Check
from stoker.core.log.history import History
from stoker.core.log.kept import Append, KeptInvalidations, Notes
from stoker.core.log.position import START, join_position, parse_position
from stoker.core.log.scopes import Copy, Scope, to_fields

T = TypeVar("T")

#: What `proved` is while nothing is: the log may have been silent for ever.
NEVER = float("-inf")

#: Traces of the newest records, for the log lines of reloads, and how much of each.
MAX_TRACES = 1_000
MAX_TRACE_LENGTH = 200


class Log(ABC):
    """One process's view of an invalidation log.

    Args:
        append: Puts scopes with notes at the log's end; raises `LinkError` or `ReplyError` when it can't.
        ready: Waits until the log can be asked.

    Attributes:
        history: What was read.
        kept: What this process could not append yet.
        ages: How long ago what is born at a position began, at most.
        seen: The position up to which it was read; a load that starts now is born there.
        epoch: The log's epoch; 0 while it is not known, and then nothing may be served or stored.
        last_epoch: The epoch that was known last; 0 before the first.
        epoch_start: Where the epoch began, or 0 where its first record has been trimmed away.
        epochs_opened: Epochs that this process has opened.
        version: Changes whenever something was learnt that could kill an entry: what was found alive at this
            very version still is.
        view: Changes when the log is doubted, and again when it is known anew: a check that was asked for
            before either proves nothing after it.
        proved: When the last completely answered check was *sent*, in seconds of `clock.boottime`: all that
            was acknowledged before is known. `-inf` while nothing is proved in this epoch.
        last_proved: The same, whatever became of the log since; where it was never reached, when it was first
            tried.
    """

    def __init__(self, append: Append, ready: Callable[[], Awaitable[None]]) -> None:
        self.history = History()
        self.kept = KeptInvalidations(append, ready)
        self.ages = Ages()
        self.seen = START
        self.epoch_start = START
        self.epochs_opened: int = 0
        self.version = 0
        self.view: int = 0
        self.proved = NEVER
        self.last_proved = NEVER
        self._own = START
        self.epoch = 0
        self.last_epoch = 0
        self._known = False
        self._traces: OrderedDict[int, str] = OrderedDict()

    def miss(self) -> None:
        """The server can't be reached: where it never was, the outage begins now."""
        if self.last_proved == NEVER:
            self.last_proved = boottime()

    # -- what is known ----------------------------------------------------------------------------

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
        """On a cluster: what was born before may have come back, as if of an older epoch; else START."""
        return START

    def killer(self, cache_type: str, key: str, tags: Sequence[bytes], born: int) -> int:
        """A record that killed what was born at `born`, or 0: of the log, or one of ours that is kept."""
        return self.history.killer(cache_type, key, tags, born) or self.kept.killer(cache_type, key, tags)

    def copy_killer(self, cache_type: str, key: str, after: int) -> int:
        """A record after a position that names an entry's copies in memory, or 0: of the log, or kept."""
        return self.history.copy_killer(cache_type, key, after) or self.kept.copy_killer(cache_type, key)

    def trace_of(self, position: int) -> str | None:
        """The trace id that the record at a position carried, if it is among the newest."""
        return self._traces.get(position)

    # -- reading ----------------------------------------------------------------------------------

    @abstractmethod
    def check(self, loop: AbstractEventLoop | None = None) -> Check:
        """Queue a look at the log into this loop turn's write, before what the caller queues next.

        When the reply to a command queued after it on the same connection has come, it is done.

        Args:
            loop: Of a caller that posts a packed command at once, the event loop that runs: the look leaves
                with that.

        Raises:
            LinkError: The log can't be asked.
        """

    @abstractmethod
    async def catch_up(self) -> bool:
        """Read on until the end of the log; say whether it was reached and the log's epoch is known."""

    @abstractmethod
    async def read_back(self) -> bool:
        """Wait until the log has been read back as far as is kept; say whether it is, and known."""

    async def birth(self, settle: float) -> int:
        """Return where a load that begins now is born, for a source of which parts lag behind.

        What was invalidated within `settle` seconds before, by the server's clock, kills it, too: it is born
        no later than the clock stood then. START where the clock can't be asked.

        Args:
            settle: Seconds that the source takes at most; 0 for one that does not lag.
        """
        if not settle:
            return self.seen
        settled_ms = await self._clock_ms() - math.ceil(settle * 1000)
        return min(self.seen, join_position(max(settled_ms, 0), 0))

    @abstractmethod
    async def _clock_ms(self) -> int:
        """Unix time in milliseconds, by the clock that records' positions are of; 0 where nobody can say."""

    @abstractmethod
    def lose(self) -> None:
        """The log is not as it was: serve nothing from it until it was looked at anew."""

    @abstractmethod
    async def resync(self) -> bool:
        """Wait until the log was looked at anew, where that is under way; say whether it is known now."""

    @abstractmethod
    async def records(self, first: int, last_id: str, count: int) -> list[Any]:
        """Read the records from a position up to an id, as they stand in the log now.

        Raises:
            LinkError: The server can't be reached.
            ReplyError: It refuses.
        """

    @abstractmethod
    async def close(self) -> None:
        """Stop what goes on in the background."""

    def _take_notes(self, history: History, position: int, fields: Sequence[bytes]) -> None:
        for name, value in zip(fields[::2], fields[1::2], strict=False):
            if name[:1] == b"_":
                self._take_note(history, position, name, value)

    def _take_note(self, history: History, position: int, name: bytes, value: bytes) -> None:
        if name == b"_swept":
            try:
                swept = parse_position(value)
            except StokerError:
                return  # a stranger's note
            if swept < position:  # a sweep says so after the fact: what lies ahead can't have been swept
                history.forget(swept)
        elif name == b"_trace":
            self._traces[position] = value[:MAX_TRACE_LENGTH].decode(errors="replace")
            if len(self._traces) > MAX_TRACES:
                self._traces.popitem(last=False)

    # -- appending --------------------------------------------------------------------------------

    @abstractmethod
    async def carry_out(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """See something to its end that others are told of, also when the caller gives up waiting.

        Args:
            work: What is to be done, in the caller's context; `close` waits for it, for a moment.
            name: Its task's name.
        """

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
        return await self._append(scopes, notes, keep=keep)

    @abstractmethod
    async def _append(self, scopes: Sequence[Scope], notes: Notes, *, keep: bool) -> Receipt:
        """Append scopes that can be written."""

    @abstractmethod
    async def tell(self, *scopes: Scope | Copy) -> int:
        """Append what overwrites name; all that is told in one turn of the event loop shares one record.

        Returns:
            The position of the record; 0 when it could not be appended: then it is kept.

        Raises:
            UsageError: A scope can't be written.
        """
