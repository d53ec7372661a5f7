"""`Cache`: one cache type, or a namespace of it, by key alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from stoker.core.aliases import ViewAliases
from stoker.core.interface import CacheInterface
from stoker.core.keys import check_text, glob_escape, several
from stoker.core.loading.conditional import NotModified
from stoker.core.loading.serving import Reading
from stoker.core.log.fleet_log import Receipt
from stoker.core.log.scopes import Pattern
from stoker.core.maintenance.purging import purge
from stoker.core.marks import Token
from stoker.core.metrics.stats import CacheStats
from stoker.core.namespace import Namespaced
from stoker.core.write_through import WriteThrough

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")


class Cache(Namespaced, ViewAliases, CacheInterface):
    """A view on one cache type of a manager; `CacheManager.cache` makes it.

    Args:
        manager: Who does the work.
        cache_type: The type.
        namespace: What its keys begin with, so that they are apart from others of the type.

    Raises:
        UsageError: There is no such type, or the namespace can't begin a key.
    """

    def __init__(self, manager: CacheManager, cache_type: str, namespace: str = "") -> None:
        manager.policy(cache_type)
        super().__init__(cache_type, namespace)
        self.manager = manager

    def _named(self, keys: Iterable[str]) -> list[str]:
        return [self.key(key) for key in several("keys", keys)]

    @overload
    def get(
        self, key: str, default: None = None, *, into: type[T], track_stats: bool = True
    ) -> Coroutine[Any, Any, T | None]: ...

    @overload
    def get(
        self, key: str, default: D, *, into: type[T], track_stats: bool = True
    ) -> Coroutine[Any, Any, T | D]: ...

    @overload
    def get(
        self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Coroutine[Any, Any, Any]: ...

    # Not `async def`, these and `set`: see `marks`.
    def get(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Coroutine[Any, Any, Any]:
        """Return the value of a key, or `default`; see `CacheManager.get`.

        With `track_stats=False` it is counted nowhere: not in statistics, metrics or towards hot keys.
        """
        return self.manager.get(self.cache_type, self.key(key), default, into=into, track_stats=track_stats)

    @overload
    def get_many(self, keys: Iterable[str], *, into: type[T]) -> Coroutine[Any, Any, dict[str, T]]: ...

    @overload
    def get_many(self, keys: Iterable[str], *, into: Any = Any) -> Coroutine[Any, Any, dict[str, Any]]: ...

    def get_many(self, keys: Iterable[str], *, into: Any = Any) -> Coroutine[Any, Any, dict[str, Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the values of the keys that have one; see `CacheManager.get_many`."""
        return self._without_namespace(self.manager.get_many(self.cache_type, self._named(keys), into=into))

    async def _without_namespace(self, reading: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        begin = len(self._begin)
        return {key[begin:]: value for key, value in (await reading).items()}

    async def get_or_load(
        self, key: str, load: Callable[P, Awaitable[R | NotModified]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the value of a key; on a miss load it, once for all who wait for it."""
        return await self.manager.get_or_load(self.cache_type, self.key(key), load, *args, **kwargs)

    async def read(
        self, key: str, load: Callable[P, Awaitable[R | NotModified]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Reading[R]:
        """`get_or_load`, and how the value came about; see `CacheManager.read`."""
        return await self.manager.read(self.cache_type, self.key(key), load, *args, **kwargs)

    async def get_or_load_many(
        self,
        keys: Iterable[str],
        load_many: Callable[[list[str]], Awaitable[Mapping[str, R]]],
        *,
        tags: Callable[[R], Iterable[str]] | None = None,
        ttl: float | None = None,
    ) -> dict[str, R]:
        """Return the values of keys; load all that are missing with one call; see `CacheManager`."""
        begin = len(self._begin)

        @wraps(load_many)
        async def load(names: list[str]) -> Mapping[str, R]:
            found: Any = await load_many([name[begin:] for name in names])
            if not isinstance(found, Mapping):
                return cast("Mapping[str, R]", found)  # it is told what is wrong with that
            return {self.key(key): value for key, value in cast("Mapping[str, R]", found).items()}

        found = await self.manager.get_or_load_many(
            self.cache_type, self._named(keys), load, tags=tags, ttl=ttl
        )
        return {key[begin:]: value for key, value in found.items()}

    def set(  # pyright: ignore[reportIncompatibleMethodOverride]
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
        return self.manager.set(
            self.cache_type, self.key(key), value, ttl, tags=tags, if_absent=if_absent or nx, token=token
        )

    def set_many(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, values: Mapping[str, Any], ttl: float | None = None, *, tags: Iterable[str] = ()
    ) -> Coroutine[Any, Any, int]:
        """Store values by key; see `CacheManager.set_many`."""
        # What is no mapping is for the manager to refuse.
        named: Any = values
        if isinstance(values, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            named = {self.key(key): value for key, value in values.items()}
        return self.manager.set_many(self.cache_type, named, ttl=ttl, tags=tags)

    async def fill(self, key: str) -> Token:
        """Return a token for a value that is about to be computed; see `CacheManager.fill`."""
        return await self.manager.fill(self.cache_type, self.key(key))

    def write_through(self, key: str) -> WriteThrough:
        """Change the source and the cache together; see `CacheManager.write_through`."""
        return self.manager.write_through(self.cache_type, self.key(key))

    async def delete(self, key: str) -> int:
        """Invalidate a key and give its memory back; say how many entries were unlinked."""
        return await self.manager.delete(self.cache_type, self.key(key))

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Invalidate keys with one record and give their memory back; say how many entries were unlinked."""
        return await self.manager.delete_many(self.cache_type, self._named(keys))

    @overload
    async def invalidate(self) -> Receipt: ...

    @overload
    async def invalidate(self, pattern: str) -> int: ...

    async def invalidate(self, pattern: str | None = None) -> Receipt | int:
        """Invalidate all keys of the view, with one command whatever their number.

        Args:
            pattern: Invalidate only keys that match it, and answer how many were unlinked; see
                `CacheManager.invalidate_pattern`.
        """
        if pattern is not None:
            return await self.manager.invalidate_pattern(self.cache_type, self._pattern(pattern))
        if not self.namespace:
            return await self.manager.invalidate_type(self.cache_type)
        return await self.invalidate_keys("")

    async def invalidate_pattern(self, pattern: str, *, reason: str | None = None) -> int:
        """Invalidate keys that match a glob; say how many were unlinked; see `CacheManager`."""
        return await self.manager.invalidate_pattern(self.cache_type, self._pattern(pattern), reason=reason)

    async def invalidate_keys(self, beginning: str) -> Receipt:
        """Invalidate all keys that begin so, with one command whatever their number."""
        return await self.manager.invalidate(
            Pattern(self.cache_type, self._pattern(glob_escape(beginning) + "*"))
        )

    async def clear_beginning(self, beginning: str) -> bool:
        """Invalidate all keys of the view that begin so; say whether that is acknowledged."""
        return (await self.invalidate_keys(beginning)).acknowledged

    def _pattern(self, pattern: str) -> str:
        check_text("a pattern", pattern)
        return glob_escape(self._begin) + pattern

    async def clear(self) -> bool:
        """Invalidate all keys of the view, and give their memory back; say whether that is acknowledged.

        Counters stay, as after any invalidation but `delete`.
        """
        acknowledged = (await self.invalidate()).acknowledged
        await purge(self.manager, self.cache_type, self._pattern("*"))
        return acknowledged

    async def ttl(self, key: str) -> float | None:
        """Return the seconds that a key's value stays fresh; None where there is none."""
        return await self.manager.ttl(self.cache_type, self.key(key))

    async def expire(self, key: str, ttl: float) -> bool:
        """Let a fresh value live `ttl` seconds from now; say whether there was one."""
        return await self.manager.expire(self.cache_type, self.key(key), ttl)

    async def touch(self, key: str) -> bool:
        """Let a fresh value live the type's TTL from now; say whether there was one."""
        return await self.manager.touch(self.cache_type, self.key(key))

    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        """Add to a counter; see `CacheManager.increment`."""
        return await self.manager.increment(self.cache_type, self.key(key), amount, ttl=ttl)

    async def counter(self, key: str) -> int | None:
        """Return a counter's value; None where there is none."""
        return await self.manager.counter(self.cache_type, self.key(key))

    async def get_stats(self) -> CacheStats:
        """Return what was counted of the type here, and what is kept of the view; see `CacheManager`."""
        return await self.manager.get_stats(self.cache_type, namespace=self.namespace)

    def local_stats(self) -> CacheStats:
        """As `get_stats`, from what this process knows, at once; see `CacheManager.local_stats`."""
        return self.manager.local_stats(self.cache_type, namespace=self.namespace)

    async def reset_stats(self) -> None:
        """Let the statistics of the type count from now on; see `CacheManager.reset_stats`."""
        await self.manager.reset_stats(self.cache_type)

    @property
    def client(self) -> Any:
        """A client of redis-py for what the library does not cover; see `CacheManager.client`."""
        return self.manager.client
