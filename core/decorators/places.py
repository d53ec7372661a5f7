"""What decorators accept as a cache, and what it says of the keys in it."""

from __future__ import annotations

from typing import Any, TypeAlias

from stoker.core.errors import UsageError
from stoker.core.interface import CacheInterface
from stoker.core.manager import CacheManager
from stoker.core.sync.manager import SyncCacheManager
from stoker.core.sync.view import SyncCache
from stoker.core.view import Cache

AsyncPlace: TypeAlias = CacheManager | CacheInterface
"""Keeps results of async functions."""

SyncPlace: TypeAlias = SyncCacheManager | SyncCache
"""Keeps results of plain functions."""


def place_of(cache: Any, cache_type: str | None, who: str) -> tuple[str, str]:
    """Return the cache type of the entries that a decorator is about, and what their keys begin with.

    Raises:
        UsageError: That is no cache; there is no type, or no such type, or two.
    """
    if isinstance(cache, Cache | SyncCache):
        if cache_type not in {None, cache.cache_type}:
            raise UsageError(
                f"{who}: the view is on {cache.cache_type!r}, and cache_type says {cache_type!r}"
            )
        return cache.cache_type, cache.key("")
    if isinstance(cache, CacheManager | SyncCacheManager):
        if cache_type is None:
            raise UsageError(f"{who} needs a cache type: write cache_type=…, or cache=manager.cache(…)")
        cache.config.policy(cache_type)
        return cache_type, ""
    if isinstance(cache, CacheInterface):
        return cache_type or "", ""
    hint = "; write @cached() with parentheses" if callable(cache) else ""
    raise UsageError(f"{who}: {cache!r:.80} is no cache: give a manager, a view, or a CacheInterface{hint}")


def keeper_of(cache: AsyncPlace | SyncPlace) -> AsyncPlace | SyncCacheManager:
    """Who keeps the entries of a cache: the manager of a view, else the cache itself."""
    if isinstance(cache, Cache):
        return cache.manager
    return cache.face if isinstance(cache, SyncCache) else cache
