"""`SyncCache`: one cache type, or a namespace of it, by key alone and without `await`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from stoker.core.loading.conditional import NotModified
from stoker.core.sync.face import Face, plain
from stoker.core.view import SEPARATOR, Cache
from stoker.core.write_through import WriteThrough

if TYPE_CHECKING:
    from stoker.core.sync.manager import SyncCacheManager

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")


class SyncCache(Face):
    """A view on one cache type of a `SyncCacheManager`; its method `cache` makes it.

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
        return self._perform(lambda view: method(view, *args, **kwargs))

    def _perform(self, work: Callable[[Cache], Coroutine[Any, Any, R]]) -> R:
        return self.face.perform(lambda manager: work(Cache(manager, self.cache_type, self.namespace)))

    def key(self, key: str) -> str:
        """Return a key as the manager knows it."""
        return self.namespace + SEPARATOR + key if self.namespace else key

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
    delete = plain(Cache.delete)
    delete_many = plain(Cache.delete_many)
    invalidate = plain(Cache.invalidate)
    invalidate_pattern = plain(Cache.invalidate_pattern)
    invalidate_keys = plain(Cache.invalidate_keys)
    clear = plain(Cache.clear)
    exists = plain(Cache.exists)
    ttl = plain(Cache.ttl)
    expire = plain(Cache.expire)
    touch = plain(Cache.touch)
    increment = plain(Cache.increment)
    decrement = plain(Cache.decrement)
    counter = plain(Cache.counter)
    get_stats = plain(Cache.get_stats)
    reset_stats = plain(Cache.reset_stats)

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

    def write_through(self, key: str) -> AbstractContextManager[WriteThrough]:
        """Change the source and the cache together; see `CacheManager.write_through`."""
        return self.face.write_through(self.cache_type, self.key(key))
