"""Loads under way in this process: one per key, joined by whoever may be served by it.

Whoever joins another's load is held to the moment *they* began: its result serves them if it was born no
earlier than they looked at the log, or if nothing it depends on was invalidated since it was born. A load
that still waits for its turn (another process has the lease) is judged when it has come to something.

What has no stored form is not shared: it may be good for one use. Whoever joined then loads for themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from stoker.core.errors import StokerError
from stoker.core.log.fleet_log import Log
from stoker.core.log.position import START

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: What a cancelled load may take to end when the cache is closed, in seconds: at least, and at most.
SHORTEST_GRACE_SECONDS = 0.05
LONGEST_GRACE_SECONDS = 1.0


#: When the loader of a flight started that has none in this process.
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of a load."""

    value: Any
    tags: tuple[bytes, ...] | None
    """None where they could not be told: then nobody knows what it depends on."""
    stored: bool
    seconds: float
    """What the loader took; 0 where another process loaded it."""
    age: float = 0.0
    """Seconds since it was stored, where another process loaded it."""
    void: bool = False
    """There is no value: another process loads the key and nobody was to wait for it, or the loader of a
    batch had none for it."""
    for_one: bool = False
    """It has no stored form, and may be good for one use: whoever joined the load needs one of their own."""


class LoadCancelledError(StokerError):
    """The load of a key was cancelled, by its loader or because the cache was closed; try again."""


class View(NamedTuple):
    """What a caller knew of the log when it began."""

    epoch: int
    known: int
    """Up to where this process knew of acknowledged invalidations, its own appends included."""
    kept: int
    """Calls whose invalidations were kept for want of a server until then."""
    since: float = 0.0
    """When a caller began that could *not* look at the log, by the event loop's clock; 0 for all others."""


@dataclass(slots=True, eq=False)
class Flight:
    """A load under way."""

    cache_type: str
    key: str
    landed: asyncio.Future[Loaded]
    begun: bool = False
    """Whether it has come to a loader's start or to another's result; before that it waits for its turn."""
    epoch: int = 0
    born: int = START
    """Where the log stood, for the process that loads, when the loader started."""
    known: int = START
    kept: int = 0
    started: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    """By the event loop's clock."""
    loading_since: float = NEVER
    """When its loader started in this process, by the same clock."""
    fresh_at_most: float | None = None
    """Seconds that its result is fresh at most, where its loader says so."""
    tags: tuple[bytes, ...] | None = None
    """The tags of its result, where its loader says so."""
    storable: bool = True
    """Whether its result may be stored; its loader may know that nobody could read it."""
    wake: Callable[[], None] | None = None
    """Has it look again whether the load that it waits for is still worth waiting for."""
    alone: bool = False
    """Whether it is for one caller: nobody joins it, and it waits for no other process."""
    thread_gone: bool = False
    """Whether it was cancelled because the thread of its plain loader was interrupted."""
    woken_at: tuple[int, int, int] | None = None
    """What was known of the log when it was last woken: epoch, records, and what is kept."""

    def begin(self, epoch: int, born: int, known: int, kept: int) -> None:
        """Say where its result is born, and what was known when it began: it serves all who looked before."""
        self.begun, self.epoch, self.born, self.known, self.kept = True, epoch, born, known, kept

    def begin_now(self, log: Log) -> None:
        """The loader starts now."""
        self.loading_since = asyncio.get_running_loop().time()
        self.begin(log.epoch, log.seen, log.known, log.kept.total)


Start = Callable[[Flight], Coroutine[Any, Any, Loaded]]
"""Makes the load of a flight."""


class Flights:
    """The loads under way, by cache type and key."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._flights: dict[tuple[str, str], Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._patience: asyncio.Task[None] | None = None
        """Lets loads end while the cache is closed."""
        self._cancelled: set[asyncio.Task[Any]] = set()
        """What the last `close` has cancelled; others may have cancelled a load before, which went on."""

    async def load(
        self,
        cache_type: str,
        key: str,
        start: Start,
        joined: Callable[[], None],
        *,
        looked: bool = True,
    ) -> Loaded:
        """Join the key's load if it may serve a caller who looked at the log just now, else start one.

        Args:
            cache_type: The key's type.
            key: The key.
            start: Makes the load.
            joined: Called when another's load served.
            looked: Whether the caller could look at the log. One that could not takes only what began to be
                loaded after it came; what is under way already it waits for, so that there is still one load
                at a time.

        Raises:
            LoadCancelledError: The load was cancelled, and not by this caller.
            Exception: Whatever the loader raises.
        """
        view = self.view(looked=looked)
        while True:
            flight = self.find(cache_type, key, view)
            if flight is None and view.since and (under_way := self._flights.get((cache_type, key))):
                await asyncio.wait([under_way.landed])
                self._forget(under_way)
                continue
            if flight is None:
                return await wait_for(self._start(cache_type, key, start).landed)
            loaded = await self.join(flight, view)
            if loaded is not None and loaded.for_one:
                return await wait_for(self._start(cache_type, key, start, alone=True).landed)
            if loaded is not None:
                joined()
                return loaded

    def start_behind(self, cache_type: str, key: str, start: Start) -> None:
        """Start a load that nobody waits for, unless one is under way."""
        if (cache_type, key) not in self._flights:
            self._start(cache_type, key, start)

    def has(self, cache_type: str, key: str) -> bool:
        """Whether a load of the key is under way."""
        return (cache_type, key) in self._flights

    def age(self, cache_type: str, key: str) -> float:
        """Seconds for which a load of the key has been under way; 0 where none is."""
        flight = self._flights.get((cache_type, key))
        return 0.0 if flight is None else asyncio.get_running_loop().time() - flight.started

    # -- for loads of several keys ----------------------------------------------------------------

    def view(self, *, looked: bool = True) -> View:
        """What is known of the log now, by a caller that could look at it just now, or could not."""
        since = 0.0 if looked else asyncio.get_running_loop().time()
        return View(self._log.epoch, self._log.known, self._log.kept.total, since)

    def find(self, cache_type: str, key: str, view: View) -> Flight | None:
        """The key's load under way, if it may serve a caller who looked at the log at `view`."""
        flight = self._flights.get((cache_type, key))
        return flight if flight is not None and self._may_serve(flight, (), view) else None

    async def join(self, flight: Flight, view: View) -> Loaded | None:
        """Wait for another's load; None when its result doesn't serve; one `for_one` is not for this caller.

        Raises:
            LoadCancelledError: The load was cancelled, and not by this caller.
            Exception: Whatever the loader raises.
        """
        if flight.wake is not None:
            known = self._log.epoch, self._log.known, self._log.kept.total
            if known != flight.woken_at:  # this caller knows more of the log than it did
                flight.woken_at = known
                flight.wake()
        try:
            loaded = await wait_for(flight.landed)
        except LoadCancelledError:
            if not flight.thread_gone:
                raise
            self._forget(flight)
            return None
        if not loaded.void and self._may_serve(flight, loaded.tags, view):
            return loaded
        # It may have landed in this very turn of the loop: who looks again before its callbacks ran would
        # find it again, for ever.
        self._forget(flight)
        return None

    def add(
        self, cache_type: str, key: str, landed: asyncio.Future[Loaded], *, alone: bool = False
    ) -> Flight:
        """Enter a load that somebody carries out; it is under way until `landed` is done.

        What is for one caller is not entered: nobody joins it.
        """
        flight = Flight(cache_type, key, landed, alone=alone)
        if not alone:
            self._flights[cache_type, key] = flight

        def land(done: asyncio.Future[Loaded]) -> None:
            self._forget(flight)
            if not done.cancelled():
                done.exception()  # a load behind has nobody else to look at its error

        landed.add_done_callback(land)
        return flight

    def _forget(self, flight: Flight) -> None:
        name = (flight.cache_type, flight.key)
        if self._flights.get(name) is flight:
            del self._flights[name]

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run what goes on when its caller gives up, and ends before the cache is closed."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)

        def ended(done: asyncio.Task[Any]) -> None:
            self._tasks.discard(done)
            self._cancelled.discard(done)
            if not done.cancelled():
                done.exception()  # whoever waits has been told by its flight

        task.add_done_callback(ended)
        return task

    # -- the end ----------------------------------------------------------------------------------

    async def close(self, timeout: float) -> None:
        """Let loads under way end within `timeout` seconds, or until `cancel`; cancel those that don't.

        A loader that goes on although it was cancelled is given up after as long again, 1 s at most; after a
        call of `cancel` as if there had been no time.
        """
        self._cancelled = set()
        if self._tasks:
            self._patience = asyncio.create_task(
                _until_ended(set(self._tasks), timeout), name="stoker-loads-end"
            )
            await asyncio.wait([self._patience])
            timeout = 0.0 if self._patience.cancelled() else timeout
        cancelled = set(self._tasks)
        if not cancelled:
            return
        self.cancel()
        grace = min(max(timeout, SHORTEST_GRACE_SECONDS), LONGEST_GRACE_SECONDS)
        _, left = await asyncio.wait(cancelled, timeout=grace)
        if left:
            logger.error(
                "action=loads_abandoned count=%d first=%s",
                len(left),
                min(task.get_name() for task in left),
                extra={"action": "loads_abandoned", "count": len(left)},
            )

    def cancel(self) -> None:
        """Cancel all loads under way, each once; `close` waits for them no longer."""
        if self._patience is not None:
            self._patience.cancel()
        for task in self._tasks - self._cancelled:
            task.cancel()
            self._cancelled.add(task)

    def __len__(self) -> int:
        return len(self._tasks)

    def _may_serve(self, flight: Flight, tags: tuple[bytes, ...] | None, view: View) -> bool:
        if not flight.begun:
            return True  # it is judged when it has come to something
        if flight.kept < view.kept or flight.epoch != view.epoch:
            return False
        if view.since:
            return flight.loading_since >= view.since
        if flight.known >= view.known:
            return True
        if tags is None:
            return False
        log = self._log
        return flight.born >= log.known_from and not log.killer(
            flight.cache_type, flight.key, tags, flight.born
        )

    def _start(self, cache_type: str, key: str, start: Start, *, alone: bool = False) -> Flight:
        landed: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        flight = self.add(cache_type, key, landed, alone=alone)
        task = self.spawn(start(flight), f"stoker-load {cache_type}:{key}")
        task.add_done_callback(lambda done: _hand_over(done, landed))
        return flight


def _hand_over(task: asyncio.Task[Loaded], landed: asyncio.Future[Loaded]) -> None:
    if task.cancelled():
        landed.cancel()
    elif (error := task.exception()) is not None:
        landed.set_exception(error)
    else:
        landed.set_result(task.result())


async def _until_ended(tasks: set[asyncio.Task[Any]], timeout: float) -> None:
    await asyncio.wait(tasks, timeout=timeout)


async def wait_for(landed: asyncio.Future[T]) -> T:
    """Wait for a load that goes on when this caller gives up.

    Raises:
        LoadCancelledError: The load was cancelled, and not by this caller.
        Exception: Whatever the loader raises.
    """
    try:
        return await asyncio.shield(landed)
    except asyncio.CancelledError:
        caller = asyncio.current_task()
        if landed.cancelled() and not (caller and caller.cancelling()):
            raise LoadCancelledError("the load was cancelled while others waited for it") from None
        raise
