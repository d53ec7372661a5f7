"""Loads under way in this process: one per key, joined by whoever may be served by it.

Whoever joins another's load is held to the moment *they* began: its result serves them if it was born no
earlier than they looked at the log, or if nothing it depends on was invalidated since it was born.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from stoker.core.log import InvalidationLog


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of a load."""

    value: Any
    tags: tuple[bytes, ...]
    stored: bool
    seconds: float
    """What the loader took."""


@dataclass(slots=True)
class Flight:
    """A load under way."""

    epoch: int
    born: int
    """Where the log stood, for this process, when the loader started."""
    kept: int
    """Invalidations that were kept for want of a server when it started."""
    task: asyncio.Task[Loaded]


class Flights:
    """The loads under way, by cache type and key."""

    def __init__(self, log: InvalidationLog) -> None:
        self._log = log
        self._flights: dict[tuple[str, str], Flight] = {}

    async def load(
        self,
        cache_type: str,
        key: str,
        start: Callable[[int, int], Coroutine[Any, Any, Loaded]],
        joined: Callable[[], None],
    ) -> Loaded:
        """Join the key's load if it may serve a caller who looked at the log just now, else start one.

        Args:
            cache_type: The key's type.
            key: The key.
            start: Makes the load, given its epoch and where it is born.
            joined: Called when another's load served.

        Raises:
            Exception: Whatever the loader raises.
        """
        log = self._log
        epoch, at, kept = log.epoch, log.seen, log.kept_total
        while True:
            flight = self._flights.get((cache_type, key))
            if flight is None or not self._may_join(flight, cache_type, key, (), epoch, at, kept):
                flight = self._start(cache_type, key, start)
                return await asyncio.shield(flight.task)
            loaded = await asyncio.shield(flight.task)
            if self._may_join(flight, cache_type, key, loaded.tags, epoch, at, kept):
                joined()
                return loaded

    def start_behind(
        self, cache_type: str, key: str, start: Callable[[int, int], Coroutine[Any, Any, Loaded]]
    ) -> Awaitable[Loaded] | None:
        """Start a load that nobody waits for, unless one is under way."""
        if (cache_type, key) in self._flights:
            return None
        return self._start(cache_type, key, start).task

    async def settle(self) -> None:
        """Wait for all loads under way."""
        tasks = [flight.task for flight in self._flights.values()]
        if tasks:
            await asyncio.wait(tasks)

    def __len__(self) -> int:
        return len(self._flights)

    def _may_join(
        self,
        flight: Flight,
        cache_type: str,
        key: str,
        tags: tuple[bytes, ...],
        epoch: int,
        at: int,
        kept: int,
    ) -> bool:
        if flight.kept < kept or flight.epoch != epoch:
            return False
        if flight.born >= at:
            return True
        log = self._log
        known_from = max(log.history.horizon, log.history.swept)
        return flight.born >= known_from and not log.killer(cache_type, key, tags, flight.born)

    def _start(
        self, cache_type: str, key: str, start: Callable[[int, int], Coroutine[Any, Any, Loaded]]
    ) -> Flight:
        log = self._log
        name = (cache_type, key)
        task = asyncio.create_task(start(log.epoch, log.seen), name=f"stoker-load {cache_type}:{key}")
        flight = Flight(log.epoch, log.seen, log.kept_total, task)
        self._flights[name] = flight

        def land(done: asyncio.Task[Loaded]) -> None:
            if self._flights.get(name) is flight:
                del self._flights[name]
            if not done.cancelled():
                done.exception()  # a load behind has nobody else to look at its error

        task.add_done_callback(land)
        return flight
