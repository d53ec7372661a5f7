"""A cache's stand-in while its server is away: what this process itself stores then, in memory alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stoker.core.link.link import Link
from stoker.core.log.scopes import Scope
from stoker.core.manager import CacheManager
from stoker.core.settings.config import CacheConfig
from stoker.core.view import Cache


class Standby:
    """Keeps what is stored while the server is away, until it is back.

    What others invalidate meanwhile it can't hear of; so nothing of it outlives the outage.

    Args:
        config: The configuration of the cache that it stands in for.
        cache_type: The type of that cache.
        namespace: Its namespace.
    """

    def __init__(self, config: CacheConfig, cache_type: str, namespace: str) -> None:
        redis = config.redis.model_copy(update={"enabled": False})
        self.manager = CacheManager(config.model_copy(update={"redis": redis}), recording=False)
        self.view = Cache(self.manager, cache_type, namespace)
        self._outage: tuple[int, int] | None = None
        """Tells one outage from the next; None while the server is there."""

    def is_needed(self, link: Link) -> bool:
        """Whether the server is away; if it was there since the last look, all that is held goes."""
        outage = None if link.ready else (link.connections, link.timeouts)
        if outage != self._outage:
            self._outage = outage
            self.end()
        return outage is not None

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing."""
        return not len(self.manager.memory.store)

    async def get(self, key: str, default: Any, into: Any) -> Any:
        """Return what was stored under a key, or `default`."""
        return await self.view.get(key, default, into=into, track_stats=False)

    async def set(self, key: str, value: Any, ttl: float | None, tags: Iterable[str]) -> bool:
        """Store a value; say whether it was stored."""
        return await self.view.set(key, value, ttl, tags=tags)

    async def invalidate(self, *scopes: Scope) -> None:
        """Invalidate what it holds."""
        if not self.is_empty:
            await self.manager.invalidate(*scopes)

    def end(self) -> None:
        """Forget all."""
        if not self.is_empty:
            self.manager.memory.store.clear()
