"""Caches that own all they need, behind one interface: what each does, over memory, Redis and both."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stoker.core import (
    CacheBackend,
    CacheConfig,
    CacheInterface,
    CacheManager,
    InMemoryCache,
    MemoryCache,
    MultiLayerCache,
    RedisCache,
    UsageError,
    hash_key,
)
from stoker.core.stores import STORE_TYPE, Store
from tests.clusters import ClusterServers
from tests.managers import PATIENT, make_manager
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


# -- what sets each apart -----------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("store", "entries", "memory_ttl", "tiers"),
    [
        (MemoryCache(), 1000, None, ("memory",)),
        (RedisCache(), 10_000, None, ("redis",)),
        (MultiLayerCache(), 100, 300.0, ("memory", "redis")),
        (MultiLayerCache(l1_max_size=7, l1_ttl=9), 7, 9.0, ("memory", "redis")),
        (MultiLayerCache(CacheConfig(l1_max_size=7, l1_ttl=9)), 7, 9.0, ("memory", "redis")),
        (MemoryCache(CacheConfig(memory={"entries": 5})), 5, None, ("memory",)),
        # Of the two older sizes each takes its own, whatever `backend` says, and where it says nothing.
        (MultiLayerCache(max_size=5000, l1_max_size=7), 7, 300.0, ("memory", "redis")),
        (MultiLayerCache(CacheConfig(max_size=5000, l1_max_size=7)), 7, 300.0, ("memory", "redis")),
        (
            MultiLayerCache(CacheConfig(backend="redis", max_size=5000, l1_max_size=7)),
            7,
            300.0,
            ("memory", "redis"),
        ),
        (MultiLayerCache(max_size=5), 5, 300.0, ("memory", "redis")),
        (MemoryCache(max_size=5000, l1_max_size=7), 5000, None, ("memory",)),
        (MemoryCache(CacheConfig(max_size=5000, l1_max_size=7)), 5000, None, ("memory",)),
    ],
)
def test_what_nobody_says_is_as_usual_for_its_kind(
    store: Store, entries: int, memory_ttl: float | None, tiers: tuple[str, ...]
) -> None:
    policy = store.manager.policy(STORE_TYPE)
    assert (policy.ttl, policy.jitter, policy.memory_ttl, policy.tiers) == (3600.0, 0.0, memory_ttl, tiers)
    assert store.manager.config.memory.entries == entries


async def test_a_configuration_object_says_all(redis_server: RedisServer, prefix: str) -> None:
    host, port = redis_server.url.removeprefix("redis://").removesuffix("/0").split(":")
    config = CacheConfig(
        backend=CacheBackend.MULTI_LAYER,
        namespace="api",
        default_ttl=60,
        max_size=1000,
        redis_url="redis://:password@elsewhere:1/5",
        redis_host=host,
        redis_port=int(port),
        redis_db=0,
        redis_password="",
        socket_timeout=5,
        socket_connect_timeout=5,
        socket_keepalive=True,
        l1_max_size=100,
        l1_ttl=300,
        key_prefix=prefix,
        compression_threshold=2000,
        encoding="utf-8",
        decode_responses=True,
    )
    async with MultiLayerCache(config) as cache:
        assert cache.namespace == "api"
        await cache.set("user:789", {"name": "Charlie"})
        assert await cache.get("user:789") == {"name": "Charlie"}
        assert await cache.get("user:789") == {"name": "Charlie"}
        stats = await cache.get_stats()
        assert (stats["l1"].max_size, stats["l1"].hits + stats["l2"].hits) == (100, 2)
        policy = cache.manager.policy(STORE_TYPE)
        assert (policy.ttl, policy.memory_ttl, policy.compress_above) == (60, 300, 2000)


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


@pytest.mark.parametrize(
    ("make_it", "said"),
    [
        (lambda: RedisCache(CacheConfig(), url="redis://a"), r"not both: write CacheConfig\(url=…\)"),
        (lambda: RedisCache(backend="memory"), "RedisCache needs Redis"),
        (lambda: MultiLayerCache(CacheConfig(redis={"enabled": False})), "MultiLayerCache needs Redis"),
        (lambda: RedisCache(redis_port=0), "redis.port: "),
        (lambda: RedisCache(url="http://:hunter2@a"), "redis.url: 'http://:\\*\\*\\*@a' is no URL of a kind"),
        (
            lambda: MemoryCache(max_size=5, memory={"entries": 6}),
            "max_size and memory.entries are both given",
        ),
        (lambda: MemoryCache(namespace="a:b"), "can't be a namespace"),
        (lambda: MemoryCache(backend="redis"), "keeps nothing in Redis, but backend is redis"),
        (
            lambda: MemoryCache(CacheConfig(backend="multi_layer")),
            "but backend is multi_layer",
        ),
        (
            lambda: MemoryCache(max_size=5, l1_max_size=0),
            "l1_max_size is a number of entries",
        ),
        (lambda: RedisCache(redis_host="cache:6380"), "give a URL as redis.url .*, a port as redis.port"),
        (lambda: RedisCache(redis_host="redis://cache"), "give a URL as redis.url \\(redis_url\\)"),
        (lambda: MemoryCache("users"), r"not str: write MemoryCache\(namespace=…\)"),  # type: ignore[arg-type]
        (lambda: RedisCache("redis://h"), r"not str: write RedisCache\(url=…\)"),  # type: ignore[arg-type]
        (lambda: RedisCache({"url": "x"}), "RedisCache takes a CacheConfig, not dict"),  # type: ignore[arg-type]
        (lambda: MemoryCache(cache_type="No"), "can't name a cache type"),
        (
            lambda: MemoryCache(max_sise=5),  # type: ignore[call-arg]  # pyright: ignore
            "max_sise: ",
        ),
    ],
)
def test_arguments_that_can_t_be_used_are_refused(make_it: Callable[[], Store], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_it()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"config": {"redis_url": "redis://:hunter2@h"}}, "CacheManager takes a CacheConfig, not dict"),
        ({"config": "redis://:hunter2@h"}, "not str: write CacheManager\\(CacheConfig\\(url=…\\)\\)"),
        ({"metrics": CollectorRegistry()}, "not CollectorRegistry: write CacheMetrics\\(registry=…\\)"),
    ],
)
def test_a_manager_says_what_it_needs_in_place_of_what_it_was_given(
    arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        CacheManager(**arguments)
    assert "hunter2" not in str(caught.value)


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


def test_a_store_may_be_of_a_built_in_type() -> None:
    cache = MemoryCache(cache_type="session")
    assert (cache.manager.policy("session").ttl, cache.manager.policy("session").kind) == (
        1800,
        "authoritative",
    )


def test_what_holds_for_all_types_holds_for_the_store_s() -> None:
    config = CacheConfig(types={"*": {"stale": 5, "jitter": 0.2}, "mine": {"jitter": 0.1}}, default_ttl=7)
    policy = config.with_type("new", {"jitter": 0.0}, early=0.5).policy("new")
    assert (policy.ttl, policy.stale, policy.jitter, policy.early) == (7, 5, 0.2, 0.5)
    assert config.with_type("mine", {"jitter": 0.0}).policy("mine").jitter == 0.1
    assert "new" not in config.types


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
