"""Counters that callers keep: integers, atomic, each with a TTL; in the server where there is one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from stoker.core.deadlines import Deadlines
from stoker.core.errors import LinkError, ReplyError, UsageError
from stoker.core.keys import Keys, shown
from stoker.core.link.link import Link
from stoker.core.link.script import Script

#: Counters of a process without a server, at most: for one more, the one that ends first is dropped.
MAX_LOCAL = 100_000

#: What Redis holds as an integer.
_INTEGERS = range(-(2**63), 2**63)


def check_amount(amount: int) -> int:
    """Return `amount` if a counter may be changed by it, else raise `UsageError`."""
    if isinstance(amount, bool) or not isinstance(amount, int) or amount not in _INTEGERS:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a counter is changed by a 64-bit integer, not {shown(amount)}")
    return amount


class Tallies(ABC):
    """The callers' counters."""

    @abstractmethod
    async def add(self, cache_type: str, key: str, by: int, ttl_ms: int) -> int | None:
        """Add to a counter; None when it can't be asked, or the sum is no 64-bit integer."""

    @abstractmethod
    async def read(self, cache_type: str, key: str) -> int | None:
        """Return a counter's value; None where there is none."""

    @abstractmethod
    async def end(self, cache_type: str, keys: Sequence[str]) -> int:
        """End counters; say of how many it is known that they ended."""


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

    async def end(self, cache_type: str, keys: Sequence[str]) -> int:
        """End counters; say of how many it is known that they ended."""
        names = [self._keys.counter(cache_type, key) for key in keys]
        try:
            return int(await self._link.call("UNLINK", *names))
        except (LinkError, ReplyError):
            return 0


class LocalTallies(Tallies):
    """Counters of this process."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._ends = Deadlines(MAX_LOCAL)

    async def add(self, cache_type: str, key: str, by: int, ttl_ms: int) -> int | None:
        """Add to a counter; None when the sum is no 64-bit integer."""
        name = cache_type, key
        count = self._live(name)
        total = (count or 0) + by
        if total not in _INTEGERS:
            return None
        if count is None and (dropped := self._ends.put(name, time.monotonic() + ttl_ms / 1000)):
            del self._counts[dropped]
        self._counts[name] = total
        return total

    async def read(self, cache_type: str, key: str) -> int | None:
        """Return a counter's value; None where there is none."""
        return self._live((cache_type, key))

    async def end(self, cache_type: str, keys: Sequence[str]) -> int:
        """End counters; say how many there were."""
        return sum([self._end((cache_type, key)) for key in keys])

    def _end(self, name: tuple[str, str]) -> bool:
        found = self._live(name)
        self._counts.pop(name, None)
        self._ends.remove(name)
        return found is not None

    def _live(self, name: tuple[str, str]) -> int | None:
        ends = self._ends.of(name)
        return None if ends is None or ends <= time.monotonic() else self._counts[name]
