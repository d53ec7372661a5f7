"""Caches that own all they need: what their arguments mean, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stoker.core import (
    CacheBackend,
    CacheConfig,
    CacheManager,
    MemoryCache,
    MultiLayerCache,
    RedisCache,
    UsageError,
)
from stoker.core.stores import STORE_TYPE, Store
from tests.servers import RedisServer


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
