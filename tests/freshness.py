"""Readers and writers at work while something happens to the servers; what is served dead is noted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from stoker.core import CacheManager, Key, Tag
from stoker.core.errors import StokerError


class Traffic:
    """Some tasks that read through caches, and one that changes the source and invalidates.

    `async with Traffic(caches, keys) as traffic:` then what happens to the servers.

    Args:
        caches: Connected managers, each of a process of its own as far as the servers can tell.
        keys: Keys of the type `product`.
        readers: Tasks that read through each of the caches.
    """

    def __init__(self, caches: Sequence[CacheManager], keys: Sequence[str], *, readers: int = 4) -> None:
        self._caches = caches
        self._keys = keys
        self._readers = readers
        self._tasks: list[asyncio.Task[None]] = []
        self._values = dict.fromkeys(keys, 0)
        self._acknowledged = dict.fromkeys(keys, 0)
        self._stop = asyncio.Event()
        self._stack = AsyncExitStack()
        self.stale: list[str] = []
        """What was served although it was dead."""
        self.errors: list[BaseException] = []
        """What readers or the writer were hit by: nothing should be."""
        self.reads = 0
        self.loads = 0
        self.acknowledged = 0
        """Invalidations that stood in the log when their call returned."""

    async def __aenter__(self) -> Self:
        tasks = [self._read(cache) for cache in self._caches for _ in range(self._readers)]
        self._tasks = [asyncio.create_task(one) for one in [*tasks, self._write()]]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _load(self, key: str) -> int:
        self.loads += 1
        value = self._values[key]
        await asyncio.sleep(0.001)
        return value

    async def _read(self, cache: CacheManager) -> None:
        while not self._stop.is_set():
            key = random.choice(self._keys)
            least = self._acknowledged[key]
            try:
                value = await cache.get_or_load("product", key, self._load, key)
            except (StokerError, OSError) as error:
                self.errors.append(error)
                continue
            self.reads += 1
            if value < least:
                self.stale.append(f"{key}: {value} after {least} was acknowledged")

    async def _write(self) -> None:
        turn = 0
        while not self._stop.is_set():
            key = random.choice(self._keys)
            cache = random.choice(self._caches)
            turn += 1
            self._values[key] = turn
            try:
                receipt = await cache.invalidate(Key("product", key) if turn % 2 else Tag("any"))
            except (StokerError, OSError) as error:
                self.errors.append(error)
                continue
            if receipt.acknowledged and turn % 2:
                self._acknowledged[key] = turn
                self.acknowledged += 1
            await asyncio.sleep(0.002)
