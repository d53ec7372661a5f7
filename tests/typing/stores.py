"""For type checkers alone: what stores, views and statistics take and answer."""

from __future__ import annotations

from typing import Any, assert_type

from stoker.core import (
    CacheBackend,
    CacheConfig,
    CacheInterface,
    CacheManager,
    CacheMetrics,
    CacheStats,
    CacheType,
    InMemoryCache,
    MemoryCache,
    MultiLayerCache,
    Receipt,
    RedisCache,
)


async def load(number: int) -> str:
    return str(number)


def configurations() -> None:
    CacheConfig(redis_url="redis://redis:6379/0", default_ttl=3600)
    CacheConfig(backend=CacheBackend.MULTI_LAYER, l1_max_size=100, l1_ttl="5m", redis_password=None)
    CacheConfig(prefix="shop", redis={"timeout": 1}, types={"page": {"ttl": 5}})
    CacheConfig(redis_prot=6379)  # type: ignore[call-arg]  # pyright: ignore
    CacheConfig(redis_port="first")  # type: ignore[arg-type]  # pyright: ignore
    MemoryCache(namespace="users", default_ttl=3600, max_size=1000)
    MemoryCache(max_sise=1000)  # type: ignore[call-arg]  # pyright: ignore
    CacheManager(config=CacheConfig(), metrics=CacheMetrics())


async def stores(cache: RedisCache, manager: CacheManager) -> None:
    assert_type(await cache.set("k", 1, 60, nx=True), bool)
    assert_type(await cache.set("k", 1, 60, True), bool)  # noqa: FBT003
    assert_type(await cache.get_or_load("k", load, 5), str)
    assert_type(await cache.get_or_set("k", load, 5), str)
    assert_type(await manager.get_or_set(CacheType.DB_QUERY, "k", load, 5), str)
    assert_type(await cache.get_ttl("k"), float | None)
    assert_type(await manager.get_ttl("session", "k"), float | None)
    assert_type(await cache.clear_namespace(), bool)
    assert_type(await cache.invalidate(), Receipt)
    assert_type(await cache.invalidate("user:*"), int)
    assert_type(await manager.invalidate_pattern("session", "*"), int)
    assert_type(await cache.initialize(), bool)
    assert_type(await cache.disconnect(), None)
    assert_type(cache.hash_key({"model": "m"}), str)
    await cache.get_or_set("k", load, "five")  # type: ignore[arg-type]  # pyright: ignore
    await cache.get(5)  # type: ignore[call-overload]  # pyright: ignore
    async with MultiLayerCache() as both:
        assert_type(both, MultiLayerCache)
    async with InMemoryCache() as memory:
        assert_type(memory, MemoryCache)


async def statistics(manager: CacheManager, any_cache: CacheInterface) -> None:
    stats = await manager.get_stats(CacheType.SESSION)
    assert_type(stats, CacheStats)
    assert_type(await any_cache.get_stats(), CacheStats)
    assert_type(stats.hit_rate_percent, float)
    assert_type(stats.l1, CacheStats | None)
    assert_type(stats["hit_rate"], Any)
    stats.hits = 5  # type: ignore[misc]  # pyright: ignore
