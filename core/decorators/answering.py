"""Who answers the calls of a decorated function that memory does not: a cache, or a user's own store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from stoker.core.counters import TypeCounters
from stoker.core.entries.codec import MISSING
from stoker.core.errors import UsageError
from stoker.core.interface import CacheInterface
from stoker.core.loading.conditional import NOT_MODIFIED
from stoker.core.loading.loaders import Loader, returned_by
from stoker.core.loading.loads import Load
from stoker.core.log.fleet_log import Receipt
from stoker.core.log.scopes import Key
from stoker.core.manager import CacheManager
from stoker.core.tagging import Tagging
from stoker.core.view import Cache

#: Asked for a value in memory: the cache type, the key, and the type to decode into.
Hit = Callable[[str, str, Any], Any]


class Answering(Protocol):
    """Answers calls."""

    def hit(self) -> Hit | None:
        """What memory may be asked with before `read`; None where there is no memory to ask."""
        ...

    async def read(self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of a call, from the cache or by calling the function."""
        ...

    async def invalidate(self, key: str) -> Receipt:
        """Invalidate the result of a call."""
        ...

    async def invalidate_beginning(self, beginning: str) -> Receipt:
        """Invalidate all results whose keys begin so."""
        ...


class ManagerAnswering:
    """Answers from a manager.

    Args:
        manager: The manager.
        spec: The function, as it was registered.
    """

    def __init__(self, manager: CacheManager, spec: Loader) -> None:
        self.manager = manager
        self._spec = spec
        self._policy = manager.policy(spec.cache_type)
        self._counters = manager.counters.of(spec.cache_type)
        # An early refresh takes a look at the entry's age.
        self._near = self._policy.in_memory and not self._policy.early

    def hit(self) -> Hit | None:  # noqa: D102
        return self.manager.memory.hit if self._near else None

    async def answer(self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As `read`, of a call for which memory was not asked yet."""
        if self._near:
            value = self.manager.memory.hit(self._spec.cache_type, key, self._spec.returns)
            if value is not MISSING:
                return value
        return await self.read(key, args, kwargs)

    async def read(self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: D102
        spec, manager = self._spec, self.manager
        manager.access.append((spec.cache_type, key, spec.recipe(args, kwargs)))
        needed = Load(spec.cache_type, key, spec.function, args, kwargs, spec)
        return (await manager.serving.read(needed, self._policy, self._counters)).value

    async def invalidate(self, key: str) -> Receipt:  # noqa: D102
        return await self.manager.invalidate(Key(self._spec.cache_type, key))

    async def invalidate_beginning(self, beginning: str) -> Receipt:  # noqa: D102
        return await Cache(self.manager, self._spec.cache_type).invalidate_keys(beginning)


class StoreAnswering:
    """Answers from a store of a user's: get, and on a miss compute and set.

    Args:
        store: The store.
        spec: The function.
    """

    def __init__(self, store: CacheInterface, spec: Loader) -> None:
        self._store = store
        self._spec = spec
        self._tagging = Tagging()
        self._counters = TypeCounters()

    def hit(self) -> Hit | None:  # noqa: D102
        return None

    async def read(self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: D102
        spec = self._spec
        found = await self._store.get(key, MISSING, into=returned_by(spec.function))
        if found is not MISSING:
            return found
        value = await spec.function(*args, **kwargs)
        if value is NOT_MODIFIED:
            raise UsageError(f"{spec.name} answered NOT_MODIFIED, but this store keeps nothing past its time")
        tag = spec.tags_for(value, args, kwargs)
        tags = self._tagging.tags_of(value, tag, "", spec.name, self._counters)
        if tags is not None:
            await self._store.set(key, value, ttl=spec.ttl, tags=[name.decode() for name in tags])
        return value

    async def invalidate(self, key: str) -> Receipt:  # noqa: D102
        await self._store.delete(key)
        return STORE_RECEIPT

    async def invalidate_beginning(self, beginning: str) -> Receipt:  # noqa: D102
        return STORE_RECEIPT if await self._store.clear_beginning(beginning) else Receipt(None)


#: What a store answers that has no log: nothing precedes it.
STORE_RECEIPT = Receipt("0-0")

Opener = Callable[[], Awaitable[CacheManager]]


class OpenedAnswering:
    """Answers from a cache that is opened at the first call, on the event loop that calls.

    Args:
        open_cache: Opens the cache of the running loop, or returns it.
        spec: The function, as it was registered.
    """

    def __init__(self, open_cache: Opener, spec: Loader) -> None:
        self._open_cache = open_cache
        self._spec = spec
        self._last: ManagerAnswering | None = None

    def hit(self) -> Hit | None:  # noqa: D102
        return None

    async def read(self, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: D102
        return await (await self._answering()).answer(key, args, kwargs)

    async def invalidate(self, key: str) -> Receipt:  # noqa: D102
        return await (await self._answering()).invalidate(key)

    async def invalidate_beginning(self, beginning: str) -> Receipt:  # noqa: D102
        return await (await self._answering()).invalidate_beginning(beginning)

    async def _answering(self) -> ManagerAnswering:
        manager = await self._open_cache()
        found = self._last
        if found is None or found.manager is not manager:
            found = self._last = ManagerAnswering(manager, self._spec)
        return found
