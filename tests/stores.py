"""A store such as a user might bring: what must be there, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stoker.core import CacheInterface


class Dictionary(CacheInterface):
    """Keeps values in a dict, for ever."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.counts: dict[str, int] = {}
        self.told: list[tuple[str, float | None, list[str]]] = []
        """What `set` was told beside the value: the key, its TTL and its tags."""

    async def get(self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True) -> Any:
        return self.values.get(key, default)

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
        if (if_absent or nx) and key in self.values:
            return False
        self.values[key] = value
        self.told.append((key, ttl, list(tags)))
        return True

    async def delete(self, key: str) -> int:
        self.counts.pop(key, None)
        return int(self.values.pop(key, self) is not self)

    async def clear(self) -> bool:
        self.values.clear()
        return True

    async def ttl(self, key: str) -> float | None:
        return 3600.0 if key in self.values else None

    async def expire(self, key: str, ttl: float) -> bool:
        return key in self.values

    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        self.counts[key] = self.counts.get(key, 0) + amount
        return self.counts[key]
