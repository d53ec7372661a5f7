"""Caches that own all they need: what sets each apart, over memory, Redis and both."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from stoker.core import (
    CacheConfig,
    InMemoryCache,
    MemoryCache,
    MultiLayerCache,
    RedisCache,
    UsageError,
)
from tests.clusters import ClusterServers
from tests.managers import PATIENT, make_manager
from tests.servers import RedisServer


async def test_memory_needs_no_server_and_no_connecting() -> None:
    cache = InMemoryCache(default_ttl=1800, max_size=500)
    assert isinstance(cache, MemoryCache)
    await cache.set("user:123", {"name": "John", "role": "admin"})
    assert await cache.get("user:123") == {"name": "John", "role": "admin"}
    assert not await cache.exists("session:abc")
    stats = cache.local_stats()
    assert (stats["utilization_percent"], stats.max_size) == (0.2, 500)
    with pytest.raises(UsageError, match="in memory alone"):
        _ = cache.client


async def test_memory_is_bounded() -> None:
    async with MemoryCache(max_size=10) as cache:
        for n in range(30):
            await cache.set(f"k{n}", n)
            assert await cache.get(f"k{n}") == n  # the newest is always there
        assert (await cache.get_stats()).cached_keys == 10


async def test_stores_of_one_namespace_in_redis_share_their_entries(
    redis_server: RedisServer, prefix: str
) -> None:
    config = CacheConfig(url=redis_server.url, key_prefix=prefix, redis=PATIENT)
    async with RedisCache(config, namespace="a") as one, MultiLayerCache(config, namespace="a") as two:
        await one.set("k", 1)
        assert await two.get("k") == 1
        await two.set("k", 2)
        assert await one.get("k") == 2


async def test_the_raw_client_has_the_same_settings(redis_server: RedisServer, prefix: str) -> None:
    config = CacheConfig(url=redis_server.url, key_prefix=prefix, max_connections=3, redis=PATIENT)
    async with RedisCache(config) as cache:
        key = f"{prefix}:processing:{uuid.uuid4()}"
        client = cache.client
        assert cache.client is cache.redis is cache.manager.client is client
        await client.set(key, "1", ex=60)
        assert await client.get(key) == b"1"
        assert await client.delete(key) == 1
        assert client.connection_pool.max_connections == 3
        ours = int((await client.execute_command("CLIENT", "INFO")).split(b"id=")[1].split()[0])
    with redis_server.client() as other:
        assert ours not in {int(line["id"]) for line in other.client_list()}  # it was closed with the cache
    async with cache:
        assert await cache.client.ping()  # and is made anew where the cache is opened again


async def test_the_raw_client_of_a_cluster_knows_its_servers(
    cluster: ClusterServers, cluster_prefix: str
) -> None:
    async with make_manager(cluster, cluster_prefix) as cache:
        names = [f"{cluster_prefix}:{n}" for n in range(20)]
        for name in names:
            assert await cache.client.set(name, "1", ex=60)
        assert [await cache.client.get(name) for name in names] == [b"1"] * 20


def test_closing_on_another_event_loop_says_so_and_the_cache_s_own_loop_still_can(
    redis_server: RedisServer, prefix: str
) -> None:
    cache = MultiLayerCache(CacheConfig(url=redis_server.url, key_prefix=prefix, redis=PATIENT))
    with asyncio.Runner() as own:
        assert own.run(cache.connect())
        with (
            ThreadPoolExecutor(1) as elsewhere,
            pytest.raises(UsageError, match="connected on another event loop: close it there"),
        ):
            elsewhere.submit(lambda: asyncio.run(cache.close())).result()
        assert own.run(cache.set("k", 1))
        own.run(cache.close())
    with asyncio.Runner() as another:
        assert another.run(cache.connect())
        assert another.run(cache.get("k")) == 1
        another.run(cache.close())


async def test_without_its_server_a_store_answers_as_in_trouble(redis_server: RedisServer) -> None:
    async with RedisCache(url="redis://127.0.0.1:1", socket_connect_timeout=0.2) as cache:
        assert await cache.get("key") is None
        assert not await cache.set("key", 1)
        assert await cache.invalidate("pattern:*") == 0
        assert await cache.delete("key") == 0
        assert await cache.increment("n") is None
        assert "error" in await cache.get_stats()
        assert await cache.get_or_load("key", _one) == 1


async def _one() -> int:
    return 1
