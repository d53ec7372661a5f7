"""A cache in two tiers that a monitor watches, and that goes on in memory alone while its server is away."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Unpack

from stoker.core.entries.compression import compressing
from stoker.core.interface import CacheInterface
from stoker.core.marks import Token
from stoker.core.performance import CachePerformanceMonitor
from stoker.core.responses.standby import Standby
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.older_names import ConfigArguments
from stoker.core.stores import MultiLayerCache

_NOTHING: Any = object()


class MonitoredCache(MultiLayerCache):
    """A cache by key, in Redis with this process's memory in front; see `AIResponseCache`, which is one.

    While the server is away, what this process stores is kept in memory alone, until the server is back.

    Args:
        config: The configuration; else give its arguments one by one.
        cache_type: The type of its entries.
        performance_monitor: Keeps the figures; one of its own where not given.
        **arguments: As of `CacheConfig`.

    Raises:
        UsageError: Both a configuration and its arguments are given, or they can't be used.
    """

    usual_policy: ClassVar[Mapping[str, Any]] = {"jitter": 0.0}

    def __init__(
        self,
        config: CacheConfig | None = None,
        *,
        cache_type: str,
        performance_monitor: CachePerformanceMonitor | None = None,
        **arguments: Unpack[ConfigArguments],
    ) -> None:
        super().__init__(config, cache_type=cache_type, **arguments)
        self.performance_monitor = performance_monitor or CachePerformanceMonitor(self.cache_type)
        self.performance_monitor.watch(self.manager.memory.store)
        self._standby = Standby(self.manager.config, self.cache_type, self.namespace)

    async def close(self, timeout: float = 5.0) -> None:
        """Let loads under way end within `timeout` seconds, then disconnect."""
        await super().close(timeout)
        await self._standby.manager.close(timeout)

    # No `async def`, these: a miss leaves its mark where it is called; see `marks`.
    def get(
        self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Coroutine[Any, Any, Any]:
        """Return the value of a key, or `default`; see `CacheManager.get`."""
        return self._read(key, default, into, tracked=track_stats)

    def _read(
        self, key: str, default: Any, into: Any, *, length: int = 0, tracked: bool = True
    ) -> Coroutine[Any, Any, Any]:
        """Read a value that was made of a text of `length` characters."""
        reading = super().get(key, _NOTHING, into=into, track_stats=tracked)
        return self._get(reading, key, default, into, length=length, tracked=tracked)

    async def _get(
        self,
        reading: Awaitable[Any],
        key: str,
        default: Any,
        into: Any,
        *,
        length: int,
        tracked: bool,
    ) -> Any:
        began = time.perf_counter()
        value = await reading
        if self._is_away() and value is _NOTHING:
            value = await self._standby.get(key, _NOTHING, into)
        hit = value is not _NOTHING
        if tracked:
            seconds = time.perf_counter() - began
            self.performance_monitor.record_operation("get", seconds, hit=hit, length=length)
        return value if hit else default

    def set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        nx: bool = False,
        *,
        tags: Iterable[str] = (),
        if_absent: bool = False,
        token: Token | None = None,
    ) -> Coroutine[Any, Any, bool]:
        """Store a value; see `CacheManager.set`."""
        names, first = tuple(tags), if_absent or nx
        storing = super().set(key, value, ttl, tags=names, if_absent=first, token=token)
        return self._set(storing, key, value, ttl, names, conditional=first or token is not None)

    def _store(
        self, key: str, value: Any, ttl: float | None, tags: Iterable[str], *, length: int
    ) -> Coroutine[Any, Any, bool]:
        """Store a value that was made of a text of `length` characters."""
        return self._set(super().set(key, value, ttl, tags=tags), key, value, ttl, tags, length=length)

    async def _set(
        self,
        storing: Awaitable[bool],
        key: str,
        value: Any,
        ttl: float | None,
        tags: Iterable[str],
        *,
        length: int = 0,
        conditional: bool = False,
    ) -> bool:
        began = time.perf_counter()
        with self._watching_compression():
            stored = await storing
        if self._is_away() and not conditional:
            stored = await self._standby.set(key, value, ttl, tags) or stored
        self.performance_monitor.record_operation("set", time.perf_counter() - began, length=length)
        return stored

    def get_many(self, keys: Iterable[str], *, into: Any = Any) -> Coroutine[Any, Any, dict[str, Any]]:
        """Return the values of the keys that have one; see `CacheManager.get_many`."""
        read = CacheInterface.get_many if self._is_away() else MultiLayerCache.get_many
        return read(self, keys, into=into)

    def set_many(
        self, values: Mapping[str, Any], ttl: float | None = None, *, tags: Iterable[str] = ()
    ) -> Coroutine[Any, Any, int]:
        """Store values by key; see `CacheManager.set_many`."""
        store = CacheInterface.set_many if self._is_away() else MultiLayerCache.set_many
        return store(self, values, ttl, tags=tags)

    async def ttl(self, key: str) -> float | None:
        """Return the seconds that a key's value stays fresh; None where there is none."""
        left = await super().ttl(key)
        return await self._standby.view.ttl(key) if left is None and self._is_away() else left

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Invalidate keys, and give their memory back; say how many entries were unlinked."""
        delete = CacheInterface.delete_many if self._is_away() else MultiLayerCache.delete_many
        return await delete(self, keys)

    async def delete(self, key: str) -> int:
        """Invalidate a key and give its memory back; say how many entries were unlinked."""
        began = time.perf_counter()
        gone = await super().delete(key)
        if self._is_away():
            gone = max(gone, await self._standby.view.delete(key))
        self.performance_monitor.record_operation("delete", time.perf_counter() - began)
        return gone

    @contextmanager
    def _watching_compression(self) -> Generator[None]:
        """Have the monitor told of what is compressed within, also by loads that begin there."""
        observed = compressing.set(self.performance_monitor.record_compression)
        try:
            yield
        finally:
            compressing.reset(observed)

    def _is_away(self) -> bool:
        """Whether the server is away."""
        return self._standby.is_needed(self.manager.link)

    async def clear(self) -> bool:
        """Invalidate all, and give its memory back; say whether that is acknowledged."""
        began = time.perf_counter()
        acknowledged = await super().clear()
        self._standby.end()
        self._record_invalidation("*", 0, began, "all", "")
        return acknowledged

    def _record_invalidation(self, what: str, gone: int, began: float, kind: str, context: str) -> None:
        self.performance_monitor.record_invalidation(
            what, gone, time.perf_counter() - began, kind=kind, context=context
        )
