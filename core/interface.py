"""What a cache can do, whatever it is made of: implement it to bring a store of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, cast, overload

from stoker.core.aliases import KeyedAliases
from stoker.core.decorators.arguments import hash_key
from stoker.core.entries.codec import MISSING
from stoker.core.keys import several
from stoker.core.loading.loaders import returned_by
from stoker.core.maintenance.tallies import check_amount
from stoker.core.metrics.stats import CacheStats

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")


class CacheInterface(KeyedAliases, ABC):
    """A cache of values by key.

    `CacheManager.cache` gives one for a cache type in memory, in Redis or in both. A store of your own
    implements the abstract methods; the others are built upon them, and may be replaced by something faster.

    No method raises for trouble with the store: reads miss, writes answer False, counts answer 0.
    """

    @overload
    @abstractmethod
    async def get(
        self, key: str, default: None = None, *, into: type[T], track_stats: bool = True
    ) -> T | None: ...

    @overload
    @abstractmethod
    async def get(self, key: str, default: D, *, into: type[T], track_stats: bool = True) -> T | D: ...

    @overload
    @abstractmethod
    async def get(
        self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Any: ...

    @abstractmethod
    async def get(self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True) -> Any:
        """Return the value of a key, decoded as `into`, or `default`; a stored `None` is a value.

        With `track_stats=False` the read is counted nowhere.
        """

    @abstractmethod
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
        """Store a value for `ttl` seconds; say whether it was stored.

        With `if_absent`, or `nx`, only where the key has no fresh value.
        """

    @abstractmethod
    async def delete(self, key: str) -> int:
        """Forget a key; say how many entries went (0 or 1)."""

    @abstractmethod
    async def clear(self) -> bool:
        """Forget all keys; say whether that is acknowledged."""

    @abstractmethod
    async def ttl(self, key: str) -> float | None:
        """Return the seconds that a key's value stays fresh; None where there is none."""

    @abstractmethod
    async def expire(self, key: str, ttl: float) -> bool:
        """Let a value live `ttl` seconds from now; say whether there was one."""

    @abstractmethod
    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        """Add to a counter, which begins at 0 and lives for `ttl` seconds; return it, or None in trouble."""

    async def decrement(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        """Subtract from a counter; see `increment`."""
        return await self.increment(key, -check_amount(amount), ttl=ttl)

    async def exists(self, key: str) -> bool:
        """Say whether a key has a fresh value."""
        return await self.ttl(key) is not None

    @overload
    async def get_many(self, keys: Iterable[str], *, into: type[T]) -> dict[str, T]: ...

    @overload
    async def get_many(self, keys: Iterable[str], *, into: Any = Any) -> dict[str, Any]: ...

    async def get_many(self, keys: Iterable[str], *, into: Any = Any) -> dict[str, Any]:
        """Return the values of the keys that have one."""
        found = {key: await self.get(key, MISSING, into=into) for key in dict.fromkeys(several("keys", keys))}
        return {key: value for key, value in found.items() if value is not MISSING}

    async def set_many(
        self, values: Mapping[str, Any], ttl: float | None = None, *, tags: Iterable[str] = ()
    ) -> int:
        """Store values by key; say how many were stored."""
        names = tuple(several("tags", tags))
        return sum([await self.set(key, value, ttl=ttl, tags=names) for key, value in values.items()])

    async def delete_many(self, keys: Iterable[str]) -> int:
        """Forget keys; say how many entries went."""
        return sum([await self.delete(key) for key in dict.fromkeys(several("keys", keys))])

    async def clear_beginning(self, beginning: str) -> bool:  # noqa: ARG002
        """Forget all keys that begin so; say whether that is acknowledged.

        A store that doesn't say how forgets all of its keys.
        """
        return await self.clear()

    def hash_key(self, data: Any) -> str:
        """Return a key for data of any shape, a prompt with its options, say; equal data have one key.

        Raises:
            UsageError: Something in it can't be told from others by what it holds.
        """
        return hash_key(data)

    async def get_stats(self) -> CacheStats:
        """Return what was counted, and what is kept; a store that counts nothing has zeros."""
        return CacheStats(backend=type(self).__name__, connected=True)

    async def reset_stats(self) -> None:
        """Let statistics count from now on."""

    async def get_or_load(
        self, key: str, load: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the value of a key, decoded into what `load` is annotated to return; on a miss load it.

        Raises:
            Exception: Whatever the loader raises.
        """
        found: Any = await self.get(key, MISSING, into=returned_by(load))
        if found is not MISSING:
            return cast("R", found)
        value = await load(*args, **kwargs)
        await self.set(key, value)
        return value
