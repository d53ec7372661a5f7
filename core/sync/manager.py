"""The cache for callers without an event loop: Celery tasks, Flask, Django, threads of any kind.

The same code in the same words, without `await`: calls are carried out on one event loop in a background
thread of the process, which starts at the first of them, and again in a forked child.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, overload

from stoker.core.aliases import SyncManagerAliases
from stoker.core.errors import UsageError
from stoker.core.loading.conditional import NotModified
from stoker.core.loading.serving import Reading
from stoker.core.manager import CacheManager
from stoker.core.marks import hand_over_marks, take_marks_back
from stoker.core.metrics.stats import CacheStats
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.given import check_config, from_environment
from stoker.core.settings.policy import Policy
from stoker.core.sync.face import Face, owed, plain
from stoker.core.sync.handover import async_form
from stoker.core.sync.home import Home
from stoker.core.sync.view import SyncCache
from stoker.core.sync.write_block import WriteBlock
from stoker.core.write_through import WriteThrough

if TYPE_CHECKING:
    from stoker.core.metrics.cache_metrics import CacheMetrics

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")


class SyncCacheManager(SyncManagerAliases, Face):
    """`CacheManager` without `await`, for any number of threads.

    ```python
    cache = SyncCacheManager(CacheConfig())
    product = cache.get_or_load("product", "42", load_product, 42)
    ```

    It connects at its first use, and is closed when nobody has it any more, or the process ends; a forked
    child has a connection of its own. What loaders raise, and what interrupts the thread that waits (a time
    limit of Celery's, Ctrl-C), passes through; the load is then cancelled.

    A loader is a plain function or an async one. A plain one runs in the thread that asked for the value,
    so that it has that thread's connections and transaction; a load that nobody waits for has a thread of
    its own. `soft_timeout` and `load_timeout` end an async loader; a plain one runs to its end first.

    Closing it lets calls of other threads end first, and those that come meanwhile wait.

    Args:
        config: Where the server is, and what the cache types are; as the environment says where not given.
        process: Names this process in metrics; host and process id where not given.
        recording: Whether this process's reads count towards hot keys and hit rates.
        metrics: Where Prometheus finds what it did.
    """

    def __init__(
        self,
        config: CacheConfig | None = None,
        *,
        process: str | None = None,
        recording: bool = True,
        metrics: CacheMetrics | None = None,
    ) -> None:
        check_config(type(self), config, "SyncCacheManager(CacheConfig(…))")
        self.config = given = from_environment() if config is None else config
        self._home = Home(
            # Without `self`: it is let go when nobody has it any more.
            lambda: CacheManager(given, process=process, recording=recording, metrics=metrics)
        )
        weakref.finalize(self, self._home.let_go).atexit = False

    # -- its life ---------------------------------------------------------------------------------

    def connect(self) -> bool:
        """Connect now; say whether the server answered. Without this, the first use connects.

        Raises:
            ConfigError: The server may evict the invalidation log, and `redis.allow_eviction` is not set.
        """
        _refuse_a_loop()
        return self._home.connect()

    def check_usable(self) -> None:
        """Refuse now what would be refused later, when a source has been written to. Connects if need be.

        Raises:
            UsageError: This thread runs an event loop, which would stand still, or the process ends.
            ConfigError: As `connect`.
        """
        _refuse_a_loop()
        self._home.check_usable()

    def close(self, timeout: float = 5.0) -> None:
        """Let what other threads do end within `timeout` seconds, and disconnect; a later use connects again.

        What takes longer is cancelled: its caller gets a `LoadCancelledError`.

        Raises:
            UsageError: This thread runs an event loop, which would stand still; or it is a loader of this
                cache that closes it, and would be waited for.
        """
        _refuse_a_loop()
        self._home.close(timeout)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def perform(
        self, work: Callable[[CacheManager], Coroutine[Any, Any, T]], timeout: float | None = None
    ) -> T:
        """Have the connected manager do something on its event loop, and wait for it.

        Args:
            work: Returns the coroutine to run, such as `lambda cache: cache.get("page", "/")`.
            timeout: Seconds it may take; without limit where not given.

        Raises:
            UsageError: This thread runs an event loop, which would stand still.
            TimeoutError: It took too long.
            Exception: Whatever the coroutine raises.
        """
        _refuse_a_loop()
        # This thread's: a `set` after a `get` that missed is a load by hand here, too.
        token = hand_over_marks()
        try:
            return self._home.perform(work, timeout)
        finally:
            take_marks_back(token)

    def apply(
        self,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Have the manager carry out one of its methods."""
        return self.perform(lambda manager: method(manager, *args, **kwargs))

    def cache(self, cache_type: str, *, namespace: str = "") -> SyncCache:
        """Return a view on one type, or on a namespace of it, by key alone.

        Raises:
            UsageError: There is no such type, or the namespace can't begin a key.
        """
        return SyncCache(self, cache_type, namespace)

    # -- what a manager does ----------------------------------------------------------------------

    @overload
    def get(
        self, cache_type: str, key: str, default: None = None, *, into: type[T], track_stats: bool = True
    ) -> T | None: ...

    @overload
    def get(
        self, cache_type: str, key: str, default: D, *, into: type[T], track_stats: bool = True
    ) -> T | D: ...

    @overload
    def get(
        self, cache_type: str, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Any: ...

    def get(
        self, cache_type: str, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Any:
        """Return the value of a key, or `default`; see `CacheManager.get`."""
        return self.perform(
            lambda manager: manager.get(cache_type, key, default, into=into, track_stats=track_stats)
        )

    @overload
    def get_many(self, cache_type: str, keys: Iterable[str], *, into: type[T]) -> dict[str, T]: ...

    @overload
    def get_many(self, cache_type: str, keys: Iterable[str], *, into: Any = Any) -> dict[str, Any]: ...

    def get_many(self, cache_type: str, keys: Iterable[str], *, into: Any = Any) -> dict[str, Any]:
        """Return the values of the keys that have one; see `CacheManager.get_many`."""
        return self.perform(lambda manager: manager.get_many(cache_type, keys, into=into))

    set = plain(CacheManager.set)
    set_many = plain(CacheManager.set_many)
    fill = plain(CacheManager.fill)
    delete = owed(CacheManager.delete)
    delete_many = owed(CacheManager.delete_many)
    invalidate = owed(CacheManager.invalidate)
    invalidate_type = owed(CacheManager.invalidate_type)
    invalidate_tags = owed(CacheManager.invalidate_tags)
    invalidate_pattern = owed(CacheManager.invalidate_pattern)
    exists = plain(CacheManager.exists)
    ttl = plain(CacheManager.ttl)
    expire = plain(CacheManager.expire)
    touch = plain(CacheManager.touch)
    increment = plain(CacheManager.increment)
    decrement = plain(CacheManager.decrement)
    counter = plain(CacheManager.counter)
    get_stats = plain(CacheManager.get_stats)
    reset_stats = plain(CacheManager.reset_stats)

    def local_stats(self, cache_type: str | None = None, *, namespace: str = "") -> CacheStats:
        """As `get_stats`, from what this process knows; see `CacheManager.local_stats`.

        Raises:
            UsageError: There is no such type.
        """

        async def told(manager: CacheManager) -> CacheStats:
            return manager.local_stats(cache_type, namespace=namespace)

        return self.perform(told)

    def policy(self, cache_type: str) -> Policy:
        """The policy of a cache type.

        Raises:
            UsageError: There is no such type.
        """
        return self.config.policy(cache_type)

    @overload
    def get_or_load(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...

    @overload
    def get_or_load(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, R | NotModified],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...

    def get_or_load(
        self, cache_type: str, key: str, load: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Return the value of a key; on a miss load it, once for all who wait for it.

        Args:
            cache_type: The key's type.
            key: The key.
            load: A function, plain or async. See `CacheManager.get_or_load`.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Raises:
            Exception: Whatever the loader raises, where there is nothing else to answer with.
        """
        return self.read(cache_type, key, load, *args, **kwargs).value

    @overload
    def read(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Reading[R]: ...

    @overload
    def read(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, R | NotModified],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Reading[R]: ...

    def read(
        self, cache_type: str, key: str, load: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Reading[Any]:
        """`get_or_load`, and how the value came about.

        Raises:
            Exception: Whatever the loader raises.
        """
        loads = async_form(load)
        return self.perform(lambda manager: manager.read(cache_type, key, loads, *args, **kwargs))

    def get_or_load_many(
        self,
        cache_type: str,
        keys: Iterable[str],
        load_many: Callable[[list[str]], Mapping[str, R] | Awaitable[Mapping[str, R]]],
        *,
        tags: Callable[[R], Iterable[str]] | None = None,
        ttl: float | None = None,
    ) -> dict[str, R]:
        """Return the values of keys; load all that are missing with one call; see `CacheManager`.

        Raises:
            UsageError: `load_many` returned no mapping of keys to values.
            Exception: Whatever `load_many` raises.
        """
        loads = async_form(load_many)
        return self.perform(
            lambda manager: manager.get_or_load_many(cache_type, keys, loads, tags=tags, ttl=ttl)
        )

    def write_through(self, cache_type: str, key: str) -> AbstractContextManager[WriteThrough]:
        """Change the source and the cache together: `with cache.write_through(type, key) as write`.

        See `CacheManager.write_through`. If the cache is closed before the block has ended, the key is
        invalidated all the same, and the value not stored.

        Raises:
            UsageError: The key can't be used.
        """
        return WriteBlock(self.perform, cache_type, key)


def _refuse_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError("an event loop runs in this thread, and would stand still: await a CacheManager here")
