"""The cache for callers without an event loop: Celery tasks, Flask, Django, threads of any kind.

The same code in the same words, without `await`: calls are carried out on one event loop in a background
thread of the process, which starts at the first of them, and again in a forked child.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from stoker.core.conditional import NotModified
from stoker.core.config import CacheConfig
from stoker.core.errors import UsageError
from stoker.core.handover import async_form
from stoker.core.home import Home
from stoker.core.manager import CacheManager
from stoker.core.marks import marks_here
from stoker.core.serving import Reading
from stoker.core.view import Cache
from stoker.core.write_through import WriteThrough

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
FaceT = TypeVar("FaceT", bound="Face")

#: Seconds that loads under way are given when the process ends.
EXIT_SECONDS = 1.0


class Face(ABC):
    """What has the methods of something async, without `await`."""

    @abstractmethod
    def apply(
        self,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Have the async counterpart of this face carry out one of its methods."""


def _plain(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], R]:
    """Return an async method as one of a face."""

    def call(self: Face, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.apply(method, *args, **kwargs)

    functools.update_wrapper(call, method)
    return call


class SyncCache(Face):
    """`Cache` without `await`: one cache type, or a namespace of it, by key alone.

    Args:
        face: Who does the work.
        cache_type: The type.
        namespace: What its keys begin with.
    """

    def __init__(self, face: SyncCacheManager, cache_type: str, namespace: str = "") -> None:
        self.face = face
        self.cache_type = cache_type
        self.namespace = namespace

    def apply(
        self,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Have a view carry out one of its methods."""
        return self.face.perform(
            lambda manager: method(Cache(manager, self.cache_type, self.namespace), *args, **kwargs)
        )

    def key(self, key: str) -> str:
        """Return a key as the manager knows it."""
        return f"{self.namespace}:{key}" if self.namespace else key

    get = _plain(Cache.get)
    get_many = _plain(Cache.get_many)
    set = _plain(Cache.set)
    set_many = _plain(Cache.set_many)
    fill = _plain(Cache.fill)
    delete = _plain(Cache.delete)
    delete_many = _plain(Cache.delete_many)
    invalidate = _plain(Cache.invalidate)
    invalidate_keys = _plain(Cache.invalidate_keys)
    clear = _plain(Cache.clear)
    exists = _plain(Cache.exists)
    ttl = _plain(Cache.ttl)
    expire = _plain(Cache.expire)
    touch = _plain(Cache.touch)
    increment = _plain(Cache.increment)
    decrement = _plain(Cache.decrement)
    counter = _plain(Cache.counter)

    def get_or_load(
        self, key: str, load: Callable[P, R | NotModified], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the value of a key; on a miss load it; see `SyncCacheManager.get_or_load`."""
        return self.face.get_or_load(self.cache_type, self.key(key), load, *args, **kwargs)

    def write_through(self, key: str) -> Any:
        """Change the source and the cache together; see `CacheManager.write_through`."""
        return self.face.write_through(self.cache_type, self.key(key))


class SyncCacheManager(Face):
    """`CacheManager` without `await`, for any number of threads.

    ```python
    cache = SyncCacheManager(CacheConfig())
    product = cache.get_or_load("product", "42", load_product, 42)
    ```

    It connects at its first use, and is closed when the process ends at the latest; a forked child has a
    connection of its own. What loaders raise, and what interrupts the thread that waits (a time limit of
    Celery's, Ctrl-C), passes through; the load is then cancelled.

    A loader is a plain function or an async one. A plain one runs in the thread that asked for the value,
    so that it has that thread's connections and transaction; a load that nobody waits for has a thread of
    its own. `soft_timeout` and `load_timeout` end an async loader; a plain one runs to its end first.

    Args:
        config: Where the server is, and what the cache types are.
        process: Names this process in metrics; host and process id where not given.
        recording: Whether this process's reads count towards hot keys and hit rates.
    """

    def __init__(
        self, config: CacheConfig | None = None, *, process: str | None = None, recording: bool = True
    ) -> None:
        self.config = config or CacheConfig()
        self._home = Home(lambda: CacheManager(self.config, process=process, recording=recording))
        _open_faces.add(self)

    # -- its life ---------------------------------------------------------------------------------

    def connect(self) -> bool:
        """Connect now; say whether the server answered. Without this, the first use connects.

        Raises:
            ConfigError: The server may evict the invalidation log, and `redis.allow_eviction` is not set.
        """
        _refuse_a_loop()
        manager = self._home.loop.run(self._home.manager())
        return self.perform(lambda _: manager.connect())

    def close(self, timeout: float = 5.0) -> None:
        """Let loads under way end within `timeout` seconds and disconnect; a later use connects again."""
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
        marks_here()  # of this thread: a `set` after a `get` that missed is a load by hand here, too
        return self._home.perform(work, timeout)

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
            UsageError: There is no such type.
        """
        self.config.policy(cache_type)
        return SyncCache(self, cache_type, namespace)

    # -- what a manager does ----------------------------------------------------------------------

    get = _plain(CacheManager.get)
    get_many = _plain(CacheManager.get_many)
    set = _plain(CacheManager.set)
    set_many = _plain(CacheManager.set_many)
    fill = _plain(CacheManager.fill)
    delete = _plain(CacheManager.delete)
    delete_many = _plain(CacheManager.delete_many)
    invalidate = _plain(CacheManager.invalidate)
    invalidate_type = _plain(CacheManager.invalidate_type)
    invalidate_tags = _plain(CacheManager.invalidate_tags)
    invalidate_pattern = _plain(CacheManager.invalidate_pattern)
    exists = _plain(CacheManager.exists)
    ttl = _plain(CacheManager.ttl)
    expire = _plain(CacheManager.expire)
    touch = _plain(CacheManager.touch)
    increment = _plain(CacheManager.increment)
    decrement = _plain(CacheManager.decrement)
    counter = _plain(CacheManager.counter)

    def get_or_load(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, R | NotModified],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
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

    def read(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, R | NotModified],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Reading[R]:
        """`get_or_load`, and how the value came about.

        Raises:
            Exception: Whatever the loader raises.
        """
        loads = async_form(load)
        found: Reading[Any] = self.perform(
            lambda manager: manager.read(cache_type, key, loads, *args, **kwargs)
        )
        return found

    def get_or_load_many(
        self,
        cache_type: str,
        keys: Iterable[str],
        load_many: Callable[[list[str]], Mapping[str, R]],
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

    @contextmanager
    def write_through(self, cache_type: str, key: str) -> Generator[WriteThrough]:
        """Change the source and the cache together: `with cache.write_through(type, key) as write`.

        See `CacheManager.write_through`.

        Raises:
            UsageError: The key can't be used.
        """

        async def begin(manager: CacheManager) -> WriteThrough:
            return await manager.write_through(cache_type, key).__aenter__()

        write = self.perform(begin)
        try:
            yield write
        except BaseException as raised:
            error = raised
            self.perform(lambda _: write.__aexit__(type(error), error, error.__traceback__))
            raise
        self.perform(lambda _: write.__aexit__(None, None, None))


def _refuse_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError("an event loop runs in this thread, and would stand still: await a CacheManager here")


_open_faces: weakref.WeakSet[SyncCacheManager] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At the end of the process: hand over what was recorded, and disconnect."""
    for face in tuple(_open_faces):
        face.close(EXIT_SECONDS)
