"""`Cache`: one cache type, or a namespace of it, by key alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from stoker.core.conditional import NotModified
from stoker.core.errors import UsageError
from stoker.core.interface import CacheInterface
from stoker.core.keys import check_text, glob_escape
from stoker.core.log import Receipt

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

P = ParamSpec("P")
R = TypeVar("R")

#: Between a namespace and the keys in it.
SEPARATOR = ":"


class Cache(CacheInterface):
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
        check_text("a namespace", namespace)
        if SEPARATOR in namespace:
            raise UsageError(f"{namespace!r} can't be a namespace: {SEPARATOR!r} ends it")
        self.manager = manager
        self.cache_type = cache_type
        self.namespace = namespace
        self._begin = namespace + SEPARATOR if namespace else ""

    def key(self, key: str) -> str:
        """Return a key as the manager knows it."""
        return self._begin + key

    async def get(self, key: str, default: Any = None, *, into: Any = Any) -> Any:
        """Return the value of a key, or `default`; see `CacheManager.get`."""
        return await self.manager.get(self.cache_type, self._begin + key, default, into=into)

    async def get_many(self, keys: Iterable[str], *, into: Any = Any) -> dict[str, Any]:
        """Return the values of the keys that have one; see `CacheManager.get_many`."""
        found = await self.manager.get_many(self.cache_type, [self._begin + key for key in keys], into=into)
        begin = len(self._begin)
        return {key[begin:]: value for key, value in found.items()}

    async def get_or_load(
        self, key: str, load: Callable[P, Awaitable[R | NotModified]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the value of a key; on a miss load it, once for all who wait for it."""
        return await self.manager.get_or_load(self.cache_type, self._begin + key, load, *args, **kwargs)

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
            return {self._begin + key: value for key, value in cast("Mapping[str, R]", found).items()}

        found = await self.manager.get_or_load_many(
            self.cache_type, [self._begin + key for key in keys], load, tags=tags, ttl=ttl
        )
        return {key[begin:]: value for key, value in found.items()}

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        tags: Iterable[str] = (),
        if_absent: bool = False,
    ) -> bool:
        """Store a value; see `CacheManager.set`."""
        return await self.manager.set(
            self.cache_type, self._begin + key, value, ttl=ttl, tags=tags, if_absent=if_absent
        )

    async def set_many(
        self, values: Mapping[str, Any], *, ttl: float | None = None, tags: Iterable[str] = ()
    ) -> int:
        """Store values by key; see `CacheManager.set_many`."""
        named = {self._begin + key: value for key, value in values.items()}
        return await self.manager.set_many(self.cache_type, named, ttl=ttl, tags=tags)

    async def delete(self, key: str) -> int:
        """Invalidate a key and give its memory back; say how many entries were unlinked."""
        return await self.manager.delete(self.cache_type, self._begin + key)

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Invalidate keys with one record and give their memory back; say how many entries were unlinked."""
        return await self.manager.delete_many(self.cache_type, [self._begin + key for key in keys])

    async def invalidate(self) -> Receipt:
        """Invalidate all keys of the view, with one command whatever their number."""
        if not self.namespace:
            return await self.manager.invalidate_type(self.cache_type)
        return await self.invalidate_keys("")

    async def invalidate_keys(self, beginning: str) -> Receipt:
        """Invalidate all keys that begin so, with one command whatever their number."""
        return await self.manager.invalidate_pattern(
            self.cache_type, glob_escape(self._begin + beginning) + "*"
        )

    async def clear(self) -> bool:
        """Invalidate all keys of the view; say whether that is acknowledged."""
        return (await self.invalidate()).acknowledged

    async def ttl(self, key: str) -> float | None:
        """Return the seconds that a key's value stays fresh; None where there is none."""
        return await self.manager.ttl(self.cache_type, self._begin + key)

    async def expire(self, key: str, ttl: float) -> bool:
        """Let a fresh value live `ttl` seconds from now; say whether there was one."""
        return await self.manager.expire(self.cache_type, self._begin + key, ttl)

    async def touch(self, key: str) -> bool:
        """Let a fresh value live the type's TTL from now; say whether there was one."""
        return await self.manager.touch(self.cache_type, self._begin + key)

    async def increment(self, key: str, by: int = 1, *, ttl: float | None = None) -> int | None:
        """Add to a counter; see `CacheManager.increment`."""
        return await self.manager.increment(self.cache_type, self._begin + key, by, ttl=ttl)

    async def counter(self, key: str) -> int | None:
        """Return a counter's value; None where there is none."""
        return await self.manager.counter(self.cache_type, self._begin + key)
