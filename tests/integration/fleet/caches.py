"""Caches, loaders and traffic for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stoker.core import CacheConfig, CacheManager, Policy
from stoker.core.settings.config import RedisConfig
from stoker.core.warming.hotkeys import HotKeys
from stoker.core.warming.rates import CounterFlush
from tests.servers import RedisServer

#: Every entry is due at once: there is no need to wait for a TTL to run down.
ALWAYS_DUE: dict[str, Any] = {"ahead": 1.0, "min_requests": 0, "loads_per_second": 100_000}


def make_config(server: RedisServer, prefix: str, **types: dict[str, Any]) -> CacheConfig:
    """A configuration with a patient link: the machine that runs the tests may be busy."""
    return CacheConfig(
        prefix=prefix,
        redis=RedisConfig(url=server.url, timeout=5.0, connect_timeout=5.0),
        types={name: Policy.model_validate(policy) for name, policy in types.items()},
    )


def make_cache(server: RedisServer, prefix: str, **types: dict[str, Any]) -> CacheManager:
    """A cache that records nothing by itself: the tests say when it does."""
    return CacheManager(make_config(server, prefix, **types), recording=False)


async def flush_hot(cache: CacheManager) -> None:
    """Share what a cache's reads were."""
    await HotKeys(cache).flush()


async def flush_counters(cache: CacheManager) -> None:
    """Share what a cache counted."""
    await CounterFlush(cache).flush()


def key_names(server: RedisServer, prefix: str) -> set[str]:
    """All keys below a prefix."""
    client = server.client()
    try:
        names: Iterable[bytes] = client.scan_iter(match=f"{prefix}:*", count=1000)
        return {name.decode() for name in names}
    finally:
        client.close()
