"""A cache in two tiers that a monitor watches, and that goes on in memory alone while its server is away."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, ClassVar, ParamSpec, TypeVar, Unpack

from stoker.core.entries.compression import compressing
from stoker.core.errors import UsageError
from stoker.core.keys import several
from stoker.core.loading.conditional import NotModified
from stoker.core.loading.serving import Reading
from stoker.core.log.fleet_log import Receipt
from stoker.core.marks import Token
from stoker.core.performance import CachePerformanceMonitor
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.older_names import ConfigArguments
from stoker.core.stores import MultiLayerCache

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds that memory serves on its own while the server is away.
OUTAGE_SECONDS = 86_400.0

_NOTHING: Any = object()


class MonitoredCache(MultiLayerCache):
    """A cache by key, in Redis with this process's memory in front; see `AIResponseCache`, which is one.

    While the server is away, what this process stores is kept in its memory, for a day at most; once the
    server is back, it is gone, and what that has counts.

    Args:
        config: The configuration; else give its arguments one by one.
        cache_type: The type of its entries.
        performance_monitor: Keeps the figures; one of its own where not given.
        **arguments: As of `CacheConfig`.

    Raises:
        UsageError: Both a configuration and its arguments are given, or they can't be used.
    """

    usual_policy: ClassVar[Mapping[str, Any]] = {"jitter": 0.0, "on_outage": OUTAGE_SECONDS}

    def __init__(
        self,
        config: CacheConfig | None = None,
        *,
        cache_type: str,
        performance_monitor: CachePerformanceMonitor | None = None,
        **arguments: Unpack[ConfigArguments],
    ) -> None:
        super().__init__(config, cache_type=cache_type, **arguments)
        self.manager.keeps_alone.add(self.cache_type)
        self.performance_monitor = performance_monitor or CachePerformanceMonitor(self.cache_type)
        self.performance_monitor.watch(self.manager.memory.store)

    async def connect(self) -> bool:
        """Start; say whether the server answered. If not, it is tried again in the background."""
        self.performance_monitor.watch(self.manager.memory.store)
        return await super().connect()

    async def close(self, timeout: float = 5.0) -> None:
        """Let loads under way end within `timeout` seconds, then disconnect."""
        await super().close(timeout)
        self.performance_monitor.forget(self.manager.memory.store)

    # -- reads ------------------------------------------------------------------------------------

    # No `async def`, `get`, `set` and those of many: a miss leaves its mark where it is called; see `marks`.
    def get(
        self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Coroutine[Any, Any, Any]:
        """Return the value of a key, or `default`; see `CacheManager.get`."""
        if not track_stats:
            return super().get(key, default, into=into, track_stats=False)
        return self._read(key, default, into)

    def _read(self, key: str, default: Any, into: Any, *, length: int = 0) -> Coroutine[Any, Any, Any]:
        """Read a value that was made of a text of `length` characters."""
        return self._get(super().get(key, _NOTHING, into=into), default, length)

    async def _get(self, reading: Awaitable[Any], default: Any, length: int) -> Any:
        began = time.perf_counter()
        value = await reading
        hit = value is not _NOTHING
        self._record("get", began, hits=hit, misses=not hit, length=length)
        return value if hit else default

    def get_many(self, keys: Iterable[str], *, into: Any = Any) -> Coroutine[Any, Any, dict[str, Any]]:
        """Return the values of the keys that have one; see `CacheManager.get_many`."""
        wanted = dict.fromkeys(several("keys", keys))
        return self._get_many(super().get_many(wanted, into=into), len(wanted))

    async def _get_many(self, reading: Awaitable[dict[str, Any]], wanted: int) -> dict[str, Any]:
        began = time.perf_counter()
        found = await reading
        self._record("get_many", began, hits=len(found), misses=wanted - len(found))
        return found

    async def read(
        self, key: str, load: Callable[P, Awaitable[R | NotModified]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Reading[R]:
        """`get_or_load`, and how the value came about; see `CacheManager.read`."""
        return await self._watched(super().read(key, load, *args, **kwargs))

    async def get_or_load(
        self, key: str, load: Callable[P, Awaitable[R | NotModified]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the value of a key; on a miss load it, once for all who wait for it."""
        return (await self.read(key, load, *args, **kwargs)).value

    async def _watched(self, read: Awaitable[Reading[R]], *, length: int = 0) -> Reading[R]:
        """Have the monitor told of a read that may load: the time of a miss says nothing of the cache."""
        began = time.perf_counter()
        try:
            with self._watching_compression():
                reading = await read
        except UsageError:
            raise
        except Exception:  # whatever the loader raises
            self.performance_monitor.record_miss()
            raise
        if reading.outcome == "miss":
            self.performance_monitor.record_miss()
        else:
            self._record("get", began, hits=1, length=length)
        return reading

    async def get_or_load_many(
        self,
        keys: Iterable[str],
        load_many: Callable[[list[str]], Awaitable[Mapping[str, R]]],
        *,
        tags: Callable[[R], Iterable[str]] | None = None,
        ttl: float | None = None,
    ) -> dict[str, R]:
        """Return the values of keys; load all that are missing with one call; see `CacheManager`.

        To the monitor, what is loaded for somebody else meanwhile is a hit.
        """
        wanted, loaded = dict.fromkeys(several("keys", keys)), set[str]()

        @wraps(load_many)
        async def load(names: list[str]) -> Mapping[str, R]:
            loaded.update(names)
            return await load_many(names)

        read = bool(wanted)
        try:
            with self._watching_compression():
                return await super().get_or_load_many(wanted, load, tags=tags, ttl=ttl)
        except BaseException:
            read = bool(loaded)  # else it was refused, or nobody knows how far it came
            raise
        finally:
            if read:
                self.performance_monitor.record_reads(len(wanted) - len(loaded), len(loaded))

    # -- writes -----------------------------------------------------------------------------------

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
        """Store a value; see `CacheManager.set`.

        While the server is away it is kept in this process's memory, and nobody else hears of it; once the
        server is back, what that has counts.
        """
        storing = super().set(key, value, ttl, tags=tags, if_absent=if_absent, nx=nx, token=token)
        return self._timed("set", storing)

    def _store(
        self, key: str, value: Any, ttl: float | None, tags: Iterable[str], *, length: int
    ) -> Coroutine[Any, Any, bool]:
        """Store a value that was made of a text of `length` characters."""
        return self._timed("set", super().set(key, value, ttl, tags=tags), length)

    def set_many(
        self, values: Mapping[str, Any], ttl: float | None = None, *, tags: Iterable[str] = ()
    ) -> Coroutine[Any, Any, int]:
        """Store values by key; see `CacheManager.set_many`."""
        return self._timed("set_many", super().set_many(values, ttl, tags=tags))

    async def delete(self, key: str) -> int:
        """Invalidate a key and give its memory back; say how many entries were unlinked."""
        return await self._timed("delete", super().delete(key))

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Invalidate keys with one record and give their memory back; say how many entries were unlinked."""
        return await self._timed("delete_many", super().delete_many(keys))

    # -- invalidation -----------------------------------------------------------------------------

    async def invalidate(self, pattern: str | None = None) -> Receipt | int:  # type: ignore[override]
        """Invalidate all keys of the view, or those that match a pattern; see `Cache.invalidate`."""
        if pattern is not None:
            return await self.invalidate_pattern(pattern)
        if self.namespace:
            return await self.invalidate_keys("")
        began = time.perf_counter()
        receipt = await super().invalidate()
        self._record_invalidation("*", 0, began, "all", "")
        return receipt

    async def invalidate_pattern(self, pattern: str, *, reason: str | None = None) -> int:
        """Invalidate keys that match a glob; say how many were unlinked; see `CacheManager`."""
        began = time.perf_counter()
        gone = await super().invalidate_pattern(pattern, reason=reason)
        self._record_invalidation(pattern, gone, began, "pattern", reason or "")
        return gone

    async def invalidate_keys(self, beginning: str) -> Receipt:
        """Invalidate all keys that begin so, with one command whatever their number."""
        began = time.perf_counter()
        receipt = await super().invalidate_keys(beginning)
        self._record_invalidation(beginning + "*", 0, began, "beginning" if beginning else "all", "")
        return receipt

    # -- figures ----------------------------------------------------------------------------------

    async def _timed(self, name: str, work: Awaitable[R], length: int = 0) -> R:
        """Have the monitor told of what is no read."""
        began = time.perf_counter()
        with self._watching_compression():
            result = await work
        self._record(name, began, length=length)
        return result

    @contextmanager
    def _watching_compression(self) -> Generator[None]:
        """Have the monitor told of what is compressed within, also by loads that begin there."""
        observed = compressing.set(self.performance_monitor.record_compression)
        try:
            yield
        finally:
            compressing.reset(observed)

    def _record(self, name: str, began: float, *, hits: int = 0, misses: int = 0, length: int = 0) -> None:
        self.performance_monitor.record_operation(
            name, time.perf_counter() - began, hits=hits, misses=misses, length=length
        )

    def _record_invalidation(self, what: str, gone: int, began: float, kind: str, context: str) -> None:
        self.performance_monitor.record_invalidation(
            what, gone, time.perf_counter() - began, kind=kind, context=context
        )
