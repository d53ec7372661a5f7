"""Invalidation by pattern: what it kills, what it unlinks and counts, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stoker.core import CacheManager, Pattern, Receipt, UsageError, glob_escape
from stoker.core.log.patterns import MAX_GLOBS
from stoker.core.maintenance.explain import explain
from stoker.core.maintenance.purging import purge
from tests.clusters import ClusterServers
from tests.managers import make_config, make_manager
from tests.servers import RedisServer

TIERS = pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"], ["memory"]])


def manager(server: Any, prefix: str, tiers: list[str]) -> CacheManager:
    return make_manager(server, prefix, page={"ttl": 60, "tiers": tiers}, other={"tiers": tiers})


@TIERS
@pytest.mark.parametrize(
    ("pattern", "hit"),
    [
        ("*", {"a:1", "a:2", "b:1", "a*", "a]}", "ä{1"}),
        ("a:*", {"a:1", "a:2"}),
        ("a?1", {"a:1"}),
        ("[ab]:1", {"a:1", "b:1"}),
        ("[^a]:1", {"b:1"}),
        (glob_escape("a*"), {"a*"}),
        ("*}", {"a]}"}),
        ("ä*", {"ä{1"}),
        ("a:1", {"a:1"}),
        ("nothing*", set[str]()),
    ],
)
async def test_what_matches_is_unlinked_and_counted_and_all_else_stays(
    redis_server: RedisServer, prefix: str, tiers: list[str], pattern: str, hit: set[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        values = dict.fromkeys(["a:1", "a:2", "b:1", "a*", "a]}", "ä{1"], 1)
        await cache.set_many("page", values)
        await cache.set_many("other", values)
        assert await cache.invalidate_pattern("page", pattern) == len(hit)
        assert set(await cache.get_many("page", values)) == set(values) - hit
        assert await cache.get_many("other", values) == values
        assert (await cache.get_stats("page")).cached_keys == len(values) - len(hit)
        assert await cache.invalidate_pattern("page", pattern) == 0


@TIERS
async def test_a_scope_answers_with_a_receipt_and_unlinks_nothing(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        await cache.set("page", "k", 1)
        receipt = await cache.invalidate(Pattern("page", "*"))
        assert receipt.acknowledged
        assert await cache.get("page", "k") is None
        if "redis" in tiers:
            assert redis_server.client().exists(cache.keys.entry("page", "k"))


async def test_what_was_stored_again_before_the_purge_stays(redis_server: RedisServer, prefix: str) -> None:
    """The record was appended by somebody else; the purge finds a new value beside old ones."""
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set_many("page", {"old": 1, "new": 1})
        await cache.invalidate(Pattern("page", "*"))
        await cache.set("page", "new", 2)
        assert await purge(cache, "page", "*") == 1
        assert await cache.get_many("page", ["old", "new"]) == {"new": 2}


async def test_what_is_stored_between_a_purge_s_look_and_its_unlink_stays(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        manager(redis_server, prefix, ["redis"]) as cache,
        manager(redis_server, prefix, ["redis"]) as other,
    ):
        await cache.set_many("page", {"old": 1, "new": 1})
        look, stored = cache.link.calls, list[bool]()

        async def look_then_store(commands: Sequence[tuple[Any, ...]]) -> list[Any]:
            replies = await look(commands)
            if commands[0][0] == "GETRANGE" and not stored:
                stored.append(await other.set("page", "new", 2))
            return replies

        monkeypatch.setattr(cache.link, "calls", look_then_store)
        assert await cache.invalidate_pattern("page", "*") == 1
        assert stored == [True]
        assert await other.get_many("page", ["old", "new"]) == {"new": 2}


@pytest.mark.parametrize("alone", [True, False])
async def test_what_is_kept_in_memory_after_the_record_stays_there(
    redis_server: RedisServer, prefix: str, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(redis_server, prefix, page={"tiers": ["memory"]})
    if alone:
        config = config.model_copy(update={"redis": config.redis.model_copy(update={"enabled": False})})
    async with CacheManager(config, recording=False) as cache:
        await cache.set_many("page", {"old": 1, "new": 1})
        append = cache.invalidate

        async def append_then_store(*scopes: Any, **notes: Any) -> Receipt:
            receipt = await append(*scopes, **notes)
            assert await cache.set("page", "new", 2)
            return receipt

        monkeypatch.setattr(cache, "invalidate", append_then_store)
        assert await cache.invalidate_pattern("page", "*") == 1
        assert await cache.get_many("page", ["old", "new"]) == {"new": 2}


async def test_counters_are_no_entries(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.increment("page", "n", 5)
        await cache.set("page", "n", "value")
        assert await cache.invalidate_pattern("page", "*") == 1
        assert await cache.cache("page").clear()
        assert await cache.counter("page", "n") == 5


async def test_many_entries_go_in_small_steps(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.core.maintenance.unlinking.UNLINK_BATCH", 7)
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set_many("page", {f"k{n}": n for n in range(2500)})
        assert await cache.invalidate_pattern("page", "k*") == 2500
        assert (await cache.get_stats("page")).cached_keys == 0


async def test_a_purge_is_bounded_in_time_and_the_invalidation_holds(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.core.maintenance.purging.PURGE_SECONDS", -1)
    async with manager(redis_server, prefix, ["redis"]) as cache:
        keys = [f"k{n}" for n in range(3000)]
        await cache.set_many("page", dict.fromkeys(keys, 1))
        assert 0 < await cache.invalidate_pattern("page", "k*") < 3000
        assert await cache.get_many("page", keys) == {}


async def test_on_a_cluster_all_servers_are_purged(cluster: ClusterServers, cluster_prefix: str) -> None:
    async with manager(cluster, cluster_prefix, ["redis"]) as cache:
        await cache.set_many("page", {f"k{n}": n for n in range(100)})
        assert await cache.invalidate_pattern("page", "k?") == 10
        assert await cache.invalidate_pattern("page", "*") == 90


async def test_while_the_server_is_away_nothing_is_counted_and_the_invalidation_is_kept(
    own_redis_server: RedisServer,
) -> None:
    async with manager(own_redis_server, "patterns", ["memory", "redis"]) as cache:
        await cache.set("page", "k", 1)
        own_redis_server.stop()
        assert await cache.invalidate_pattern("page", "*") == 0
        assert len(cache.log.kept) == 1
        assert await cache.get("page", "k") is None


@TIERS
async def test_the_reason_stands_in_the_record(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        await cache.invalidate_pattern("page", "*", by="me", trace="t", reason="model_update")
        ((_, fields),) = redis_server.client().xrevrange(cache.keys.log, count=1)
        assert {b"me", b"t", b"model_update"} <= set(fields.values())


async def test_a_view_forgets_its_namespace_and_gives_its_memory_back(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        eu, us = cache.cache("page", namespace="eu"), cache.cache("page", namespace="us")
        await eu.set_many({"1": 1, "2": 2})
        await us.set("1", 1)
        assert await eu.invalidate("?") == 2
        await eu.set("1", 1)
        assert await eu.clear()
        assert await eu.get("1") is None
        assert (await cache.get_stats("page")).cached_keys == 1
        assert (await us.invalidate()).acknowledged
        assert await us.get("1") is None
        assert await cache.cache("page").clear_namespace()
        assert (await cache.get_stats("page")).cached_keys == 0


async def test_what_is_no_pattern_is_refused(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        for wrong in (5, b"a*", None):
            with pytest.raises(UsageError):
                await cache.invalidate_pattern("page", wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="a pattern is a str"):
            await cache.cache("page", namespace="eu").invalidate(b"a*")  # type: ignore[call-overload]
        with pytest.raises(UsageError, match="no cache type is called 'nope'"):
            await cache.invalidate_pattern("nope", "*")


@TIERS
async def test_any_number_of_other_beginnings_leaves_an_entry_alone(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with (
        manager(redis_server, prefix, tiers) as cache,
        make_manager(redis_server, prefix, page={"tiers": tiers}) as other,
    ):
        mine = cache.cache("page", namespace="mine")
        await mine.set("1", "kept")
        await cache.set("session", "s1", {"user": 1})
        for begin in range(0, 10_000, 500):
            numbers = range(begin, begin + 500)
            scopes = [Pattern(name, f"user:{n}:*") for n in numbers for name in ("page", "session")]
            assert (await other.invalidate(*scopes)).acknowledged
        for number in range(10):
            assert await other.cache("page", namespace=f"tenant{number}").clear_namespace()
        assert await mine.get("1") == "kept"
        assert await cache.get("session", "s1") == {"user": 1}
        if "redis" in tiers:
            assert await other.get("session", "s1") == {"user": 1}
            assert (await explain(cache, "page", "mine:1")).state == "fresh"
        await cache.set("page", "user:77:x", 1)
        await other.invalidate(Pattern("page", "user:77:*"))
        await cache.log.catch_up()
        assert await cache.get("page", "user:77:x") is None


async def test_too_many_patterns_of_other_kinds_leave_other_types_alone_and_what_is_younger(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set_many("page", {"old": 1})
        await cache.set("session", "s1", 1)
        await cache.invalidate(Pattern("page", "*.nothing"))
        await cache.set("page", "younger", 1)
        await cache.invalidate(*(Pattern("page", f"*.{number}") for number in range(MAX_GLOBS)))
        assert await cache.get_many("page", ["old", "younger"]) == {"younger": 1}
        answer = await explain(cache, "page", "old")
        assert "more patterns than are kept" in answer.because
        assert await cache.get("session", "s1") == 1
