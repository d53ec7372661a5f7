"""What users of netrun-cache wrote, over Stoker: the same names, the same answers."""

from __future__ import annotations

import pytest

from stoker.core import (
    CacheBackend,
    CacheConfig,
    CacheStats,
    MemoryCache,
    MultiLayerCache,
    RedisCache,
    cached,
)
from stoker.core.stores import Store
from tests.managers import PATIENT
from tests.servers import RedisServer


def place(server: RedisServer) -> tuple[str, int]:
    host, _, rest = server.url.removeprefix("redis://").partition(":")
    return host, int(rest.partition("/")[0])


async def test_memory_cache_quick_start() -> None:
    cache = MemoryCache(namespace="users", default_ttl=3600, max_size=1000)
    await cache.initialize()

    await cache.set("user:123", {"name": "John", "email": "john@example.com"})
    assert await cache.get("user:123") == {"name": "John", "email": "john@example.com"}
    await cache.delete("user:123")
    assert await cache.get("user:123") is None

    users = {"user:1": {"name": "Alice"}, "user:2": {"name": "Bob"}}
    await cache.set_many(users, ttl=1800)
    assert await cache.get_many(["user:1", "user:2"]) == users

    assert await cache.increment("page_views") == 1
    assert await cache.decrement("inventory:item_123") == -1

    stats = await cache.get_stats()
    assert f"Hit rate: {stats.hit_rate_percent}%" == "Hit rate: 75.0%"
    assert f"Cached keys: {stats.cached_keys}" == "Cached keys: 2"
    await cache.close()


async def test_redis_cache_by_a_configuration_and_by_arguments(
    redis_server: RedisServer, prefix: str
) -> None:
    host, port = place(redis_server)
    config = CacheConfig(
        namespace="api",
        default_ttl=3600,
        redis_host=host,
        redis_port=port,
        redis_db=0,
        key_prefix=prefix,
        redis=PATIENT,
    )
    cache = RedisCache(config=config)
    await cache.initialize()
    same = RedisCache(
        namespace="api", default_ttl=3600, redis_host=host, redis_port=port, prefix=prefix, redis=PATIENT
    )
    await same.initialize()

    await cache.set("product:456", {"name": "Widget", "price": 29.99})
    assert await same.get("product:456") == {"name": "Widget", "price": 29.99}
    key = cache._hash_key("What is the capital of France?")
    await cache.set(key, "Paris")
    assert await same.get(same._hash_key("What is the capital of France?")) == "Paris"
    await cache.clear_namespace()
    assert await same.get_many(["product:456", key]) == {}
    await cache.close()
    await same.close()


async def test_a_password_and_a_database_of_ones_own(own_redis_server: RedisServer) -> None:
    host, port = place(own_redis_server)
    with own_redis_server.client() as client:
        client.config_set("requirepass", "your_password")
        config = CacheConfig(
            redis_host=host, redis_port=port, redis_db=3, redis_password="your_password", redis=PATIENT
        )
        async with RedisCache(config) as cache:
            assert await cache.set("k", 1)
        client.execute_command("SELECT", 3)
        assert client.exists("stoker:e:{cache:k}")
        client.config_set("requirepass", "")


async def test_two_tiers(redis_server: RedisServer, prefix: str) -> None:
    host, port = place(redis_server)
    config = CacheConfig(
        namespace="api",
        default_ttl=3600,
        l1_max_size=100,
        l1_ttl=300,
        redis_host=host,
        redis_port=port,
        prefix=prefix,
        redis=PATIENT,
    )
    cache = MultiLayerCache(config)
    await cache.initialize()
    await cache.set("user:789", {"name": "Charlie"})
    assert await cache.get("user:789") == await cache.get("user:789") == {"name": "Charlie"}
    stats = await cache.get_stats()
    assert stats["l1"].hit_rate_percent + stats["l2"].hit_rate_percent >= 100.0
    await cache.close()


@pytest.mark.parametrize("backend", list(CacheBackend))
async def test_decorated_functions_over_each_backend(
    redis_server: RedisServer, prefix: str, backend: CacheBackend
) -> None:
    stores: dict[CacheBackend, type[Store]] = {
        CacheBackend.MEMORY: MemoryCache,
        CacheBackend.REDIS: RedisCache,
        CacheBackend.MULTI_LAYER: MultiLayerCache,
    }
    host, port = place(redis_server)
    calls: list[str] = []
    async with stores[backend](redis_host=host, redis_port=port, prefix=prefix, redis=PATIENT) as cache:

        @cached(cache=cache, ttl=3600, namespace="search")
        async def search_items(query: str, limit: int = 10) -> list[str]:
            calls.append(query)
            return [query] * limit

        assert await search_items("tea") == ["tea"] * 10  # a miss
        assert await search_items("tea") == ["tea"] * 10  # a hit
        assert await search_items("tea", limit=10) == ["tea"] * 10  # the default, spelled out
        assert await search_items("tea", 2) == ["tea"] * 2
        assert calls == ["tea", "tea"]


def test_the_configuration_model() -> None:
    config = CacheConfig(
        backend=CacheBackend.MULTI_LAYER,
        namespace="cache",
        default_ttl=3600,
        max_size=1000,
        redis_url="redis://:password@localhost:6379/0",
        redis_host="localhost",
        redis_port=6379,
        redis_db=0,
        redis_password="secret",
        socket_timeout=5,
        socket_connect_timeout=5,
        l1_max_size=100,
        l1_ttl=300,
    )
    assert config.redis.url == "redis://:secret@localhost:6379/0"
    assert (config.namespace, config.default_ttl, config.memory.entries) == ("cache", 3600, 100)
    assert (config.redis.timeout, config.redis.connect_timeout) == (5, 5)
    assert config.policy("db_query").memory_ttl == 300


async def test_the_statistics_model() -> None:
    async with MemoryCache(namespace="users") as cache:
        await cache.get("missing")
        stats = await cache.get_stats()
        assert isinstance(stats, CacheStats)
        assert [
            f"Namespace: {stats.namespace}",
            f"Hits: {stats.hits}",
            f"Misses: {stats.misses}",
            f"Total requests: {stats.total_requests}",
            f"Hit rate: {stats.hit_rate_percent}%",
            f"Cached keys: {stats.cached_keys}",
            f"Backend: {stats.backend}",
            f"Connected: {stats.connected}",
        ] == [
            "Namespace: users",
            "Hits: 0",
            "Misses: 1",
            "Total requests: 1",
            "Hit rate: 0.0%",
            "Cached keys: 0",
            "Backend: memory",
            "Connected: True",
        ]


async def test_namespaces_are_isolated() -> None:
    user_cache = MemoryCache(namespace="users")
    product_cache = MemoryCache(namespace="products")
    await user_cache.set("123", {"name": "Alice"})
    await product_cache.set("123", {"name": "Widget"})
    await user_cache.clear_namespace()
    assert await user_cache.get("123") is None
    assert await product_cache.get("123") == {"name": "Widget"}


async def test_a_lock_by_set_nx(redis_server: RedisServer, prefix: str) -> None:
    async with RedisCache(url=redis_server.url, prefix=prefix, redis=PATIENT) as cache:
        acquired = await cache.set("lock:resource_123", "locked", ttl=30, nx=True)
        assert acquired
        try:
            assert not await cache.set("lock:resource_123", "locked", ttl=30, nx=True)
        finally:
            await cache.delete("lock:resource_123")
        assert await cache.set("lock:resource_123", "locked", ttl=30, nx=True)


METHODS = (
    "initialize get set delete exists expire get_many set_many increment decrement clear_namespace get_stats "
    "reset_stats close _hash_key"
)


@pytest.mark.parametrize("store", [MemoryCache, RedisCache, MultiLayerCache])
def test_every_method_is_there(store: type[Store]) -> None:
    assert [name for name in METHODS.split() if not callable(getattr(store, name, None))] == []
