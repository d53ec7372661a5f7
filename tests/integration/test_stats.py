"""Statistics: what callers saw, per tier, and what is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from stoker.core import CacheBackend, CacheConfig, CacheManager, CacheStats, UsageError
from stoker.core.metrics.stats import ENOUGH_REQUESTS, human_bytes, low_hit_rate
from tests.clusters import ClusterServers
from tests.managers import make_config, make_manager
from tests.servers import RedisServer

ALONE = CacheConfig.model_validate({"redis": {"enabled": False}, "memory": {"entries": 50}})


async def use(cache: CacheManager, cache_type: str) -> None:
    """Two sets, three hits, one miss, one deletion."""
    await cache.set(cache_type, "a", 1)
    await cache.set(cache_type, "b", 2)
    for key in ("a", "b", "a", "missing"):
        await cache.get(cache_type, key)
    await cache.delete(cache_type, "b")


async def test_a_type_in_redis_tells_what_callers_saw_and_what_is_stored(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60}) as cache:
        await use(cache, "page")
        await cache.set("db_query", "other", 1)
        stats = await cache.get_stats("page")
        assert (stats.cache_type, stats.backend, stats.connected) == ("page", "redis", True)
        assert (stats.hits, stats.misses, stats.total_requests) == (3, 1, 4)
        assert (stats.hit_rate, stats.hit_rate_percent) == (0.75, 75.0)
        assert (stats.sets, stats.deletes, stats.cached_keys, stats.cached_responses) == (2, 1, 1, 1)
        assert stats.total_keys >= 3  # the log is one of the server's keys, too
        assert stats.memory_bytes > 100_000
        assert stats.memory_human.endswith("M")
        assert (stats.l1, stats.l2, stats.max_size, stats.utilization_percent) == (None, None, None, 0.0)
        assert (stats.error, stats.warnings) == (None, [])


async def test_without_a_type_all_types_are_added_up(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60}) as cache:
        await use(cache, "page")
        await use(cache, "db_query")
        stats = await cache.get_stats()
        assert (stats.cache_type, stats.hits, stats.misses, stats.cached_keys) == (None, 6, 2, 2)


async def test_types_in_memory_alone_are_counted_beside_those_in_redis(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": ["memory"]}) as cache:
        await cache.set_many("page", {"a": 1, "b": 2})
        await cache.set("db_query", "c", 3)
        assert (await cache.get_stats()).cached_keys == 3
        page = await cache.get_stats("page")
        assert (page.backend, page.cached_keys) == ("memory", 2)
        assert await cache.cache("page").get_stats() == cache.cache("page").local_stats() == page
        assert (await cache.get_stats("db_query")).cached_keys == 1


async def test_of_two_tiers_each_has_its_part(redis_server: RedisServer, prefix: str) -> None:
    config = make_config(redis_server, prefix, page={"tiers": ["memory", "redis"]})
    async with CacheManager(config, recording=False) as cache, CacheManager(config, recording=False) as other:
        await other.set("page", "theirs", 1)
        for _ in range(3):
            assert await cache.get("page", "theirs") == 1  # Redis, then memory twice
        await cache.get("page", "missing")
        stats = await cache.get_stats("page")
        assert stats.backend == CacheBackend.MULTI_LAYER
        assert stats.l1 is not None
        assert stats.l2 is not None
        assert (stats.hits, stats.misses, stats.cached_keys) == (3, 1, 1)
        assert (stats.l1.backend, stats.l1.hits, stats.l1.misses, stats.l1.cached_keys) == ("memory", 2, 2, 1)
        assert (stats.l2.backend, stats.l2.hits, stats.l2.misses, stats.l2.cached_keys) == ("redis", 1, 1, 1)
        assert stats["l1"].hit_rate_percent == 50.0
        assert stats["l2"].hit_rate_percent == 50.0
        assert stats.l1.max_size == stats.max_size == 10_000
        assert stats.utilization_percent == stats.l1.utilization_percent == 0.01
        assert 0 < stats.l1.memory_bytes < stats.l2.memory_bytes


@pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"], ["memory"]])
async def test_a_read_that_is_not_to_be_counted_is_counted_nowhere(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": tiers}) as cache:
        await cache.set("page", "k", 1)
        cache.access.clear()
        assert await cache.get("page", "k", track_stats=False) == 1
        assert await cache.get("page", "missing", "none", track_stats=False) == "none"
        stats = cache.local_stats("page")
        assert (stats.hits, stats.misses, list(cache.access)) == (0, 0, [])
        await cache.delete("page", "missing")
        assert not await cache.set("page", "missing", "computed before"), "a miss leaves its mark"


async def test_memory_alone_needs_no_server(prefix: str) -> None:
    async with CacheManager(ALONE) as cache:
        await use(cache, "db_query")
        await cache.set("session", "s", 1)
        stats = await cache.get_stats("db_query")
        assert (stats.backend, stats.connected, stats.error) == ("memory", True, None)
        assert (stats.hits, stats.misses, stats.cached_keys, stats.total_keys) == (3, 1, 1, 2)
        assert (stats.max_size, stats.utilization_percent) == (50, 2.0)
        assert 0 < stats.memory_bytes < 10_000
        assert stats == cache.local_stats("db_query")


async def test_a_namespace_counts_its_own_keys_only(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        eu, us = cache.cache("page", namespace="eu"), cache.cache("page", namespace="us")
        await eu.set_many({"1": 1, "2": 2})
        await us.set("1", 1)
        await cache.set("page", "e?:1", 1)
        stats = await eu.get_stats()
        assert (stats.namespace, stats.cached_keys) == ("eu", 2)
        assert (await cache.cache("page", namespace="e?").get_stats()).cached_keys == 1  # no glob
        assert (await cache.get_stats("page")).cached_keys == 4


async def test_reset_lets_statistics_count_anew_and_no_counter_run_backwards(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        await use(cache, "page")
        await use(cache, "db_query")
        await cache.cache("page").reset_stats()
        stats = await cache.get_stats("page")
        assert (stats.hits, stats.misses, stats.sets, stats.deletes) == (0, 0, 0, 0)
        assert stats.hit_rate == 0.0
        assert stats.cached_keys == 1  # what is kept is kept
        assert cache.counters.of("page").hits == 3
        assert (await cache.get_stats("db_query")).hits == 3
        await cache.get("page", "a")
        assert (await cache.get_stats("page")).hits == 1
        await cache.reset_stats()
        assert (await cache.get_stats()).total_requests == 0


async def test_trouble_with_the_server_is_told_beside_what_was_counted_here(
    own_redis_server: RedisServer,
) -> None:
    config = make_config(own_redis_server, "stats", page={"tiers": ["memory", "redis"]})
    async with CacheManager(config, recording=False) as cache:
        await cache.set("page", "k", 1)
        await cache.get("page", "k")
        own_redis_server.stop()
        stats = await cache.get_stats("page")
        assert "error" in stats
        assert stats.get("error")
        assert not stats.connected
        assert (stats.hits, stats.cached_keys, stats.total_keys) == (1, 0, 0)
        assert stats.l1 is not None
        assert stats.l1.error is None
        assert stats.l2 is not None
        assert stats.l2.error == stats.error


async def test_before_it_connects_a_cache_has_statistics_too(redis_server: RedisServer) -> None:
    stats = await make_manager(redis_server, "unused").get_stats()
    assert "error" in stats
    assert (stats.connected, stats.hits) == (False, 0)


async def test_an_unknown_type_is_refused(redis_server: RedisServer) -> None:
    cache = make_manager(redis_server, "unused")
    with pytest.raises(UsageError, match="no cache type is called 'nope'"):
        await cache.get_stats("nope")
    with pytest.raises(UsageError, match="no cache type is called 'nope'"):
        await cache.reset_stats("nope")


async def test_a_low_hit_rate_names_the_setting_to_change(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        keys = [str(n) for n in range(ENOUGH_REQUESTS - 1)]
        await cache.get_many("page", keys)
        assert (await cache.get_stats("page")).warnings == []  # not enough to tell
        await cache.get("page", "one more")
        stats = await cache.get_stats("page")
        assert [warning for warning in stats.warnings if "types.page.ttl" in warning] == stats.warnings != []
        assert (await cache.get_stats()).warnings == stats.warnings
        assert (await cache.get_stats("session")).warnings == []


async def test_an_evicting_memory_is_named_as_the_cause(prefix: str) -> None:
    async with CacheManager(ALONE) as cache:
        for n in range(ENOUGH_REQUESTS):
            await cache.get("db_query", str(n))
            await cache.set("db_query", str(n), n)
        assert "memory.entries" in (await cache.get_stats("db_query")).warnings[0]


async def test_a_worker_s_count_is_told_where_there_are_too_many_keys_to_walk(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.core.maintenance.sizes.WALKED_KEYS", 0)
    async with make_manager(redis_server, prefix, page={}) as cache:
        await cache.set("page", "k", 1)
        assert (await cache.get_stats("page")).cached_keys == 1  # nobody has counted yet
        client = redis_server.client()
        client.hset(cache.keys.sizes, mapping={"": "1.0", "page": 41, "db_query": 1})
        client.expire(cache.keys.sizes, 60)
        client.close()
        assert (await cache.get_stats("page")).cached_keys == 41
        assert (await cache.get_stats()).cached_keys == 42


async def test_a_count_that_takes_too_long_says_that_there_are_more(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.core.metrics.census.WALK_SECONDS", -1)
    async with make_manager(redis_server, prefix, page={}) as cache:
        await cache.set("page", "k", 1)
        stats = await cache.get_stats("page")
        assert "stoker worker" in stats.warnings[0]


async def test_a_cluster_s_servers_are_added_up(cluster: ClusterServers, cluster_prefix: str) -> None:
    async with make_manager(cluster, cluster_prefix, page={}) as cache:
        await cache.set_many("page", {str(n): n for n in range(30)})
        stats = await cache.get_stats("page")
        assert stats.cached_keys == 30
        assert stats.total_keys >= 31


def test_statistics_can_be_asked_for_as_in_a_dict() -> None:
    stats = CacheStats(hits=1, misses=3)
    assert stats["hit_rate"] == stats.hit_rate == 0.25
    assert stats["total_requests"] == 4
    assert stats.get("hit_rate", 0.0) == 0.25
    assert stats.get("no such field", "default") == "default"
    assert stats.get("error", "none") == "none"
    assert "error" not in stats
    assert "hits" in stats
    assert 1 not in stats
    with pytest.raises(KeyError, match="model_dump"):
        stats["model_dump"]
    for plain in (dict(stats), {**stats}, dict(stats.items())):
        assert (plain["hits"], plain["hit_rate"], plain["hit_rate_percent"]) == (1, 0.25, 25.0)
        assert "error" not in plain
        assert plain.keys() == {name for name in stats.model_dump() if name in stats}
        assert list(plain.values()) == stats.values()
    assert dict(CacheStats(error="gone"))["error"] == "gone"


def test_statistics_are_frozen_and_become_json_with_their_rates() -> None:
    stats = CacheStats(hits=1, misses=1, memory_bytes=1_572_864, l1=CacheStats(max_size=4, cached_keys=1))
    with pytest.raises(ValidationError):
        stats.hits = 2  # type: ignore[misc]
    shown: dict[str, Any] = json.loads(stats.model_dump_json())
    assert (shown["hit_rate"], shown["memory_human"], shown["l1"]["utilization_percent"]) == (
        0.5,
        "1.50M",
        25.0,
    )
    assert shown["error"] is None


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (2**30, "1.00G"), (2**60, "1024.00P")]
)
def test_sizes_are_written_as_redis_writes_them(size: int, text: str) -> None:
    assert human_bytes(size) == text


@pytest.mark.parametrize(("hits", "misses", "warns"), [(49, 50, False), (49, 51, True), (50, 50, False)])
def test_only_enough_reads_of_which_too_few_hit_are_warned_of(hits: int, misses: int, warns: bool) -> None:
    assert bool(low_hit_rate("page", hits, misses)) is warns
