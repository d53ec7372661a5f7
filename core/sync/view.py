"""`SyncCache`: one cache type, or a namespace of it, by key alone and without `await`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from stoker.core.aliases import SyncViewAliases
from stoker.core.decorators.arguments import hash_key
from stoker.core.loading.conditional import NotModified
from stoker.core.loading.serving import Reading
from stoker.core.metrics.stats import CacheStats
from stoker.core.namespace import Namespaced
from stoker.core.sync.face import Face, owed, plain
from stoker.core.sync.handover import async_form
from stoker.core.view import Cache
from stoker.core.write_through import WriteThrough

if TYPE_CHECKING:
    from stoker.core.sync.manager import SyncCacheManager

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")


class SyncCache(Namespaced, SyncViewAliases, Face):
    """A view on one cache type of a `SyncCacheManager`; its method `cache` makes it.

    Args:
        face: Who does the work.
        cache_type: The type.
        namespace: What its keys begin with.

    Raises:
        UsageError: There is no such type, or the namespace can't begin a key.
    """

    def __init__(self, face: SyncCacheManager, cache_type: str, namespace: str = "") -> None:
        face.config.policy(cache_type)
        super().__init__(cache_type, namespace)
        self.face = face

    def apply(
        self,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Have a view carry out one of its methods."""
        return self._perform(lambda view: method(view, *args, **kwargs))

    def _perform(self, work: Callable[[Cache], Coroutine[Any, Any, R]]) -> R:
        return self.face.perform(lambda manager: work(Cache(manager, self.cache_type, self.namespace)))

    def hash_key(self, data: Any) -> str:
        """Return a key for data of any shape; see `Cache.hash_key`.

        Raises:
            UsageError: Something in it can't be told from others by what it holds.
        """
        return hash_key(data)

    @overload
    def get(self, key: str, default: None = None, *, into: type[T], track_stats: bool = True) -> T | None: ...

    @overload
    def get(self, key: str, default: D, *, into: type[T], track_stats: bool = True) -> T | D: ...

    @overload
    def get(self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True) -> Any: ...

    def get(self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True) -> Any:
        """Return the value of a key, or `default`; see `Cache.get`."""
        return self._perform(lambda view: view.get(key, default, into=into, track_stats=track_stats))

    @overload
    def get_many(self, keys: Iterable[str], *, into: type[T]) -> dict[str, T]: ...

    @overload
    def get_many(self, keys: Iterable[str], *, into: Any = Any) -> dict[str, Any]: ...

    def get_many(self, keys: Iterable[str], *, into: Any = Any) -> dict[str, Any]:
        """Return the values of the keys that have one; see `Cache.get_many`."""
        return self._perform(lambda view: view.get_many(keys, into=into))

    set = plain(Cache.set)
    set_many = plain(Cache.set_many)
    fill = plain(Cache.fill)
    delete = owed(Cache.delete)
    delete_many = owed(Cache.delete_many)
    invalidate = owed(Cache.invalidate)
    invalidate_pattern = owed(Cache.invalidate_pattern)
    invalidate_keys = owed(Cache.invalidate_keys)
    clear = owed(Cache.clear)
    clear_beginning = owed(Cache.clear_beginning)
    exists = plain(Cache.exists)
    ttl = plain(Cache.ttl)
    expire = plain(Cache.expire)
    touch = plain(Cache.touch)
    increment = plain(Cache.increment)
    decrement = plain(Cache.decrement)
    counter = plain(Cache.counter)
    get_stats = plain(Cache.get_stats)
    reset_stats = plain(Cache.reset_stats)

    def local_stats(self) -> CacheStats:
        """As `get_stats`, from what this process knows; see `CacheManager.local_stats`."""
        return self.face.local_stats(self.cache_type, namespace=self.namespace)

    @overload
    def get_or_load(
        self, key: str, load: Callable[P, Awaitable[R | NotModified]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    def get_or_load(
        self, key: str, load: Callable[P, R | NotModified], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    def get_or_load(self, key: str, load: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Return the value of a key; on a miss load it; see `SyncCacheManager.get_or_load`."""
        return self.face.get_or_load(self.cache_type, self.key(key), load, *args, **kwargs)

    @overload
    def read(
        self, key: str, load: Callable[P, Awaitable[R | NotModified]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Reading[R]: ...

    @overload
    def read(
        self, key: str, load: Callable[P, R | NotModified], /, *args: P.args, **kwargs: P.kwargs
    ) -> Reading[R]: ...

    def read(self, key: str, load: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Reading[Any]:
        """`get_or_load`, and how the value came about; see `SyncCacheManager.read`."""
        return self.face.read(self.cache_type, self.key(key), load, *args, **kwargs)

    def get_or_load_many(
        self,
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
        return self._perform(lambda view: view.get_or_load_many(keys, loads, tags=tags, ttl=ttl))

    def write_through(self, key: str) -> AbstractContextManager[WriteThrough]:
        """Change the source and the cache together; see `CacheManager.write_through`."""
        return self.face.write_through(self.cache_type, self.key(key))
