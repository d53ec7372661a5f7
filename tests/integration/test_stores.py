"""Caches that own all they need, behind one interface: what each does alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stoker.core import (
    CacheBackend,
    CacheInterface,
    MemoryCache,
    MultiLayerCache,
    RedisCache,
    hash_key,
)
from stoker.core.stores import Store
from tests.managers import PATIENT
from tests.servers import RedisServer

BACKENDS: dict[type[Store], CacheBackend] = {
    MemoryCache: CacheBackend.MEMORY,
    RedisCache: CacheBackend.REDIS,
    MultiLayerCache: CacheBackend.MULTI_LAYER,
}

Make = Callable[..., Store]


@pytest.fixture(params=BACKENDS, ids=lambda kind: kind.__name__)
def make(request: pytest.FixtureRequest, redis_server: RedisServer, prefix: str) -> Make:
    """Makes stores of one kind; those in Redis share the server and a prefix of the test's own."""

    def made(**arguments: Any) -> Store:
        if request.param is not MemoryCache:
            arguments = {"key_prefix": prefix, "redis": {"url": redis_server.url, **PATIENT}, **arguments}
        store: Store = request.param(**arguments)
        return store

    return made


async def test_values_are_stored_read_and_deleted(make: Make) -> None:
    async with make(namespace="users", default_ttl=3600) as cache:
        user = {"name": "John", "email": "john@example.com", "tags": ["a", None], "age": 5.5}
        assert await cache.set("user:123", user)
        assert await cache.get("user:123") == user
        assert await cache.exists("user:123")
        assert await cache.delete("user:123") == 1
        assert await cache.delete("user:123") == 0
        assert await cache.get("user:123") is None
        assert not await cache.exists("user:123")


async def test_batches_have_one_ttl(make: Make) -> None:
    async with make(namespace="users") as cache:
        users = {"user:1": {"name": "Alice"}, "user:2": {"name": "Bob"}}
        assert await cache.set_many(users, 1800) == 2
        assert await cache.get_many(["user:1", "user:2", "user:3"]) == users
        left = await cache.get_ttl("user:1")
        assert left is not None
        assert 1700 < left <= 1800


async def test_counters_count_atomically(make: Make) -> None:
    async with make(namespace="n") as cache:
        assert await cache.increment("page_views") == 1
        assert await cache.increment("page_views", amount=4) == 5
        assert await cache.decrement("inventory:item_123") == -1
        assert await cache.decrement("page_views", 2) == 3
        counts = await asyncio.gather(*(cache.increment("page_views") for _ in range(20)))
        assert sorted(count for count in counts if count is not None) == list(range(4, 24))


async def test_set_nx_is_a_lock(make: Make) -> None:
    async with make() as cache:
        acquired = await asyncio.gather(
            *(cache.set("lock:resource_123", "locked", ttl=30, nx=True) for _ in range(5))
        )
        assert sorted(acquired) == [False, False, False, False, True]
        left = await cache.ttl("lock:resource_123")
        assert left is not None
        assert 25 < left <= 30
        await cache.delete("lock:resource_123")
        assert await cache.set("lock:resource_123", "locked", 30, True)  # noqa: FBT003
        assert not await cache.set("lock:resource_123", "another", 30, True)  # noqa: FBT003
        assert not await cache.set("lock:resource_123", "locked", 30, if_absent=True)


async def test_ttls_are_kept_to_the_second_and_can_be_changed(make: Make) -> None:
    async with make(default_ttl=600) as cache:
        await cache.set("k", 1)
        left = await cache.get_ttl("k")
        assert left is not None
        assert 595 < left <= 600  # no jitter
        assert await cache.expire("k", 5)
        left = await cache.get_ttl("k")
        assert left is not None
        assert left <= 5
        assert not await cache.expire("missing", 5)
        assert await cache.get_ttl("missing") is None


async def test_namespaces_are_apart(make: Make) -> None:
    async with make(namespace="users") as users, make(namespace="products") as products:
        await users.set("123", {"name": "Alice"})
        await products.set("123", {"name": "Widget"})
        assert await users.clear_namespace()
        assert await users.get("123") is None
        assert (await users.get_stats()).cached_keys == 0
        assert await products.get("123") == {"name": "Widget"}
        assert (await products.get_stats()).cached_keys == 1


async def test_a_pattern_invalidates_and_says_how_many(make: Make) -> None:
    async with make(namespace="api") as cache:
        await cache.set_many({"user:1": 1, "user:2": 2, "product:1": 3, "user[1]": 4})
        assert await cache.invalidate("user:*") == 2
        assert await cache.invalidate("user:*") == 0
        assert await cache.get("user:1") is None
        assert await cache.get("product:1") == 3
        assert await cache.invalidate_pattern("*", reason="clean-up") == 2
        assert await cache.get_many(["product:1", "user[1]"]) == {}


async def test_a_pattern_stays_within_its_namespace(make: Make) -> None:
    async with make(namespace="a*") as cache, make(namespace="ab") as other:
        await cache.set("k", 1)
        await other.set("k", 2)
        assert await cache.invalidate("*") == 1
        assert await other.get("k") == 2


async def test_statistics_tell_what_happened(make: Make) -> None:
    async with make(namespace="api") as cache:
        await cache.set("k", 1)
        await cache.get("k")
        await cache.get("missing")
        await cache.get("k", track_stats=False)
        await cache.get("missing", track_stats=False)
        stats = await cache.get_stats()
        assert (stats.namespace, stats.hits, stats.misses, stats.total_requests) == ("api", 1, 1, 2)
        assert (stats.hit_rate_percent, stats.cached_keys, stats.connected) == (50.0, 1, True)
        assert stats.backend == BACKENDS[type(cache)]
        await cache.reset_stats()
        assert (await cache.get_stats()).total_requests == 0


async def test_reads_that_are_not_tracked_count_nowhere(make: Make) -> None:
    async with make() as cache:
        await cache.set("k", 1)
        before, seen = cache.manager.counters.snapshot(), list(cache.manager.access)
        assert await cache.get("k", track_stats=False) == 1
        assert await cache.get("missing", "default", track_stats=False) == "default"
        assert cache.manager.counters.snapshot() == before
        assert list(cache.manager.access) == seen


async def test_hashed_keys_of_complex_data_are_stable(make: Make) -> None:
    async with make(namespace="llm") as cache:
        prompt = {
            "model": "gpt-4",
            "messages": [{"role": "user", "content": "Hello"}],
            "temperature": 0.7,
        }
        key = cache._hash_key(prompt)
        assert key == cache.hash_key(dict(reversed(prompt.items()))) == hash_key(prompt)
        assert len(key) == 64
        assert await cache.set(key, "AI response here")
        assert await cache.get(key) == "AI response here"
        assert cache.hash_key({**prompt, "temperature": 0.8}) != key


async def test_loads_go_through_the_store(make: Make) -> None:
    async with make() as cache:
        calls: list[int] = []

        async def compute(number: int, *, factor: int) -> int:
            calls.append(number)
            return number * factor

        assert await cache.get_or_load("k", compute, 2, factor=3) == 6
        assert await cache.get_or_set("k", compute, 5, factor=5) == 6
        assert calls == [2]


async def test_it_can_be_opened_and_closed_under_either_name_more_than_once(make: Make) -> None:
    cache = make()
    assert await cache.initialize()
    assert await cache.set("k", 1)
    await cache.disconnect()
    await cache.close()
    assert await cache.connect()
    assert await cache.set("k", 2)
    assert await cache.get("k") == 2
    await cache.close()


async def test_each_is_what_the_interface_says(make: Make) -> None:
    async def service(cache: CacheInterface) -> Any:
        await cache.set("k", [1], 60, nx=True)
        return (
            await cache.get("k"),
            await cache.get_ttl("k") is not None,
            cache.hash_key("x") == hash_key("x"),
        )

    async with make() as cache:
        assert await service(cache) == ([1], True, True)
