"""A small store of somebody else's, whose clock can be set: right, until a test breaks a rule of it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from stoker.core import CacheInterface, UsageError


class Shelf:
    """What the stores of one test share."""

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: dict[str, tuple[Any, float | None]] = {}
        self.counters: dict[str, tuple[int, float | None]] = {}
        self.down = False


class DictStore(CacheInterface):
    """Keeps values in a dict."""

    def __init__(self, shelf: Shelf, namespace: str) -> None:
        self.shelf = shelf
        self.begin = f"{namespace}:"

    def name(self, key: str) -> str:
        return self.begin + key

    def ends(self, ttl: float | None) -> float | None:
        return None if ttl is None else self.shelf.now + ttl

    def is_over(self, ends: float | None) -> bool:
        return ends is not None and ends <= self.shelf.now

    def found(self, key: str) -> tuple[Any, float | None] | None:
        entry = self.shelf.entries.get(self.name(key))
        return None if entry is None or self.shelf.down or self.is_over(entry[1]) else entry

    def check(self, ttl: float | None) -> None:
        if ttl is not None and ttl <= 0:
            raise UsageError(f"a TTL is positive, not {ttl}")

    async def get(self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True) -> Any:
        entry = self.found(key)
        if entry is None:
            return default
        value = copy.deepcopy(entry[0])
        return into(**value) if isinstance(into, type) and dataclasses.is_dataclass(into) else value

    async def set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        *,
        tags: Iterable[str] = (),
        if_absent: bool = False,
        nx: bool = False,
    ) -> bool:
        self.check(ttl)
        if self.shelf.down or ((if_absent or nx) and self.found(key) is not None):
            return False
        plain = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
        self.shelf.entries[self.name(key)] = copy.deepcopy(plain), self.ends(ttl)
        return True

    async def delete(self, key: str) -> int:
        if self.shelf.down:
            return 0
        there = self.found(key) is not None
        self.shelf.entries.pop(self.name(key), None)
        self.shelf.counters.pop(self.name(key), None)
        return int(there)

    async def clear(self) -> bool:
        return await self.clear_beginning("")

    async def set_many(
        self, values: Mapping[str, Any], ttl: float | None = None, *, tags: Iterable[str] = ()
    ) -> int:
        self.check(ttl)
        return await super().set_many(values, ttl, tags=tags)

    async def clear_beginning(self, beginning: str) -> bool:
        if self.shelf.down:
            return False
        for name in [name for name in self.shelf.entries if name.startswith(self.begin + beginning)]:
            del self.shelf.entries[name]
        return True

    async def ttl(self, key: str) -> float | None:
        entry = self.found(key)
        if entry is None:
            return None
        return float("inf") if entry[1] is None else entry[1] - self.shelf.now

    async def expire(self, key: str, ttl: float) -> bool:
        self.check(ttl)
        entry = self.found(key)
        if entry is not None:
            self.shelf.entries[self.name(key)] = entry[0], self.ends(ttl)
        return entry is not None

    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        self.check(ttl)
        if self.shelf.down:
            return None
        value, ends = self.shelf.counters.get(self.name(key), (0, self.ends(ttl)))
        if self.is_over(ends):
            value, ends = 0, self.ends(ttl)
        self.shelf.counters[self.name(key)] = value + amount, ends
        return value + amount
