"""Loads under way in this process: one per key, joined by whoever may be served by it.

Whoever joins another's load is held to the moment *they* began: its result serves them if it was born no
earlier than they looked at the log, or if nothing it depends on was invalidated since it was born.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from stoker.core.errors import StokerError
from stoker.core.log import InvalidationLog

logger = logging.getLogger(__name__)

#: What a cancelled load may take to end when the cache is closed, in seconds: at least, and at most.
SHORTEST_GRACE_SECONDS = 0.05
LONGEST_GRACE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of a load."""

    value: Any
    tags: tuple[bytes, ...] | None
    """None where they could not be told: then nobody knows what it depends on."""
    stored: bool
    seconds: float
    """What the loader took."""


class LoadCancelledError(StokerError):
    """The load of a key was cancelled, by its loader or because the cache was closed; try again."""


Start = Callable[[int, int], Coroutine[Any, Any, Loaded]]
"""Makes the load, given the log's epoch and the position where it is born."""


@dataclass(slots=True)
class Flight:
    """A load under way."""

    epoch: int
    born: int
    """Where the log stood, for this process, when the loader started."""
    known: int
    """Up to where this process knew of acknowledged invalidations then, its own appends included."""
    kept: int
    """Calls whose invalidations were kept for want of a server until then."""
    task: asyncio.Task[Loaded]


class Flights:
    """The loads under way, by cache type and key."""

    def __init__(self, log: InvalidationLog) -> None:
        self._log = log
        self._flights: dict[tuple[str, str], Flight] = {}
        self._tasks: set[asyncio.Task[Loaded]] = set()

    async def load(self, cache_type: str, key: str, start: Start, joined: Callable[[], None]) -> Loaded:
        """Join the key's load if it may serve a caller who looked at the log just now, else start one.

        Args:
            cache_type: The key's type.
            key: The key.
            start: Makes the load.
            joined: Called when another's load served.

        Raises:
            LoadCancelledError: The load was cancelled, and not by this caller.
            Exception: Whatever the loader raises.
        """
        log = self._log
        epoch, at, kept = log.epoch, log.known, log.kept.total
        while True:
            flight = self._flights.get((cache_type, key))
            if flight is None or not self._may_join(flight, cache_type, key, (), epoch, at, kept):
                return await _wait_for(self._start(cache_type, key, start).task)
            loaded = await _wait_for(flight.task)
            if self._may_join(flight, cache_type, key, loaded.tags, epoch, at, kept):
                joined()
                return loaded

    def start_behind(self, cache_type: str, key: str, start: Start) -> None:
        """Start a load that nobody waits for, unless one is under way."""
        if (cache_type, key) not in self._flights:
            self._start(cache_type, key, start)

    async def close(self, timeout: float) -> None:
        """Let loads under way end within `timeout` seconds; cancel those that don't.

        A loader that goes on although it was cancelled is given up after as long again, 1 s at most.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        cancelled = set(self._tasks)
        if not cancelled:
            return
        for task in cancelled:
            task.cancel()
        grace = min(max(timeout, SHORTEST_GRACE_SECONDS), LONGEST_GRACE_SECONDS)
        _, left = await asyncio.wait(cancelled, timeout=grace)
        if left:
            logger.error(
                "action=loads_abandoned count=%d first=%s",
                len(left),
                min(task.get_name() for task in left),
                extra={"action": "loads_abandoned", "count": len(left)},
            )

    def __len__(self) -> int:
        return len(self._tasks)

    def _may_join(
        self,
        flight: Flight,
        cache_type: str,
        key: str,
        tags: tuple[bytes, ...] | None,
        epoch: int,
        at: int,
        kept: int,
    ) -> bool:
        if flight.kept < kept or flight.epoch != epoch:
            return False
        if flight.known >= at:
            return True
        if tags is None:
            return False
        log = self._log
        known_from = max(log.history.horizon, log.history.swept)
        return flight.born >= known_from and not log.killer(cache_type, key, tags, flight.born)

    def _start(self, cache_type: str, key: str, start: Start) -> Flight:
        log, name = self._log, (cache_type, key)
        task = asyncio.create_task(start(log.epoch, log.seen), name=f"stoker-load {cache_type}:{key}")
        flight = Flight(log.epoch, log.seen, log.known, log.kept.total, task)
        self._flights[name] = flight
        self._tasks.add(task)

        def land(done: asyncio.Task[Loaded]) -> None:
            self._tasks.discard(done)
            if self._flights.get(name) is flight:
                del self._flights[name]
            if not done.cancelled():
                done.exception()  # a load behind has nobody else to look at its error

        task.add_done_callback(land)
        return flight


async def _wait_for(task: asyncio.Task[Loaded]) -> Loaded:
    """Wait for a load that goes on when this caller gives up."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        caller = asyncio.current_task()
        if task.cancelled() and not (caller and caller.cancelling()):
            raise LoadCancelledError("the load was cancelled while others waited for it") from None
        raise
