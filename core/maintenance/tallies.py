"""Counters that callers keep: integers, atomic, each with a TTL; in the server where there is one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link.link import Link
from stoker.core.link.script import Script

#: Counters of a process without a server, at most: then those whose time is over are dropped, or the oldest.
MAX_LOCAL = 100_000

_LARGEST = 2**63 - 1


class Tallies(ABC):
    """The callers' counters."""

    @abstractmethod
    async def add(self, cache_type: str, key: str, by: int, ttl_ms: int) -> int | None:
        """Add to a counter; None when it can't be asked, or the sum is no 64-bit integer."""

    @abstractmethod
    async def read(self, cache_type: str, key: str) -> int | None:
        """Return a counter's value; None where there is none."""

    @abstractmethod
    def remove(self, cache_type: str, key: str) -> bool:
        """Drop a counter that is kept here; say whether there was one."""


class RedisTallies(Tallies):
    """Counters in the server."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._increment = Script("increment.lua")

    async def add(self, cache_type: str, key: str, by: int, ttl_ms: int) -> int | None:
        """Add to a counter; None when the server can't be asked, or the sum is no 64-bit integer."""
        name = self._keys.counter(cache_type, key)
        try:
            return int(await self._increment.run(self._link, [name], by, ttl_ms))
        except (LinkError, ReplyError):
            return None

    async def read(self, cache_type: str, key: str) -> int | None:
        """Return a counter's value; None where there is none, or it is no number."""
        try:
            value = await self._link.call("GET", self._keys.counter(cache_type, key))
            return None if value is None else int(value)
        except (LinkError, ReplyError, ValueError):
            return None

    def remove(self, cache_type: str, key: str) -> bool:  # noqa: ARG002  it goes with the entry of its name
        """Nothing is kept here."""
        return False


class LocalTallies(Tallies):
    """Counters of this process."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], tuple[int, float]] = {}

    async def add(self, cache_type: str, key: str, by: int, ttl_ms: int) -> int | None:
        """Add to a counter; None when the sum is no 64-bit integer."""
        name, now = (cache_type, key), time.monotonic()
        count, ends = self._counts.get(name, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + ttl_ms / 1000
            self._make_room(now)
        if not -_LARGEST - 1 <= count + by <= _LARGEST:
            return None
        self._counts[name] = (count + by, ends)
        return count + by

    async def read(self, cache_type: str, key: str) -> int | None:
        """Return a counter's value; None where there is none."""
        count, ends = self._counts.get((cache_type, key), (0, 0.0))
        return count if ends > time.monotonic() else None

    def remove(self, cache_type: str, key: str) -> bool:
        """Drop a counter; say whether there was one."""
        return self._counts.pop((cache_type, key), (0, 0.0))[1] > time.monotonic()

    def _make_room(self, now: float) -> None:
        if len(self._counts) < MAX_LOCAL:
            return
        self._counts = {name: tally for name, tally in self._counts.items() if tally[1] > now}
        while len(self._counts) >= MAX_LOCAL:
            del self._counts[next(iter(self._counts))]
