"""Entries in memory: served without the server, and never further behind the log than their bound."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from stoker.core import CacheManager, Everything, Key, Pattern, Scope, Tag, Type
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

BOTH = pytest.mark.parametrize("tiers", [["memory", "redis"], ["memory"]])

SCOPES = [
    Key("page", "k"),
    Tag("t"),
    Type("page"),
    Pattern("page", "k*"),
    Everything(),
]


def manager(server: RedisServer, prefix: str, tiers: list[str] | None = None, **policy: Any) -> CacheManager:
    return make_manager(server, prefix, page={"ttl": 60, "tiers": tiers or ["memory", "redis"], **policy})


def commands(server: RedisServer) -> int:
    """Commands that the server has run so far, this one not counted."""
    client = server.client()
    stats = client.info("commandstats")
    client.close()
    wanted = ("cmdstat_getrange", "cmdstat_eval", "cmdstat_evalsha", "cmdstat_set")
    return sum(int(stats[name]["calls"]) for name in wanted if name in stats)


@BOTH
async def test_a_hit_in_memory_asks_the_server_nothing(
    own_redis_server: RedisServer, tiers: list[str]
) -> None:
    async with manager(own_redis_server, "p", tiers) as cache:
        await cache.set("page", "k", {"n": 1})
        assert await cache.get("page", "k") == {"n": 1}
        before = commands(own_redis_server)
        for _ in range(100):
            assert await cache.get("page", "k") == {"n": 1}
        assert await cache.get_many("page", ["k"]) == {"k": {"n": 1}}
        assert commands(own_redis_server) == before
        counters = cache.counters.of("page")
        assert counters.hits == 102
        assert counters.memory_hits >= 101


@BOTH
@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: type(scope).__name__)
async def test_what_this_process_invalidates_is_gone_at_once(
    redis_server: RedisServer, prefix: str, tiers: list[str], scope: Scope
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        await cache.set("page", "k", "old", tags=["t"])
        assert await cache.get("page", "k") == "old"
        assert (await cache.invalidate(scope)).acknowledged
        assert await cache.get("page", "k") is None


@BOTH
@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: type(scope).__name__)
async def test_what_another_process_invalidates_is_gone_without_a_read_of_the_log_by_a_caller(
    redis_server: RedisServer, prefix: str, tiers: list[str], scope: Scope
) -> None:
    """The follower hears of it, whatever the bound is."""
    async with (
        manager(redis_server, prefix, tiers, memory_bound=60) as cache,
        manager(redis_server, prefix) as other,
    ):
        await cache.set("page", "k", "old", tags=["t"])
        assert await cache.get("page", "k") == "old"
        receipt = await other.invalidate(scope)
        assert receipt.acknowledged
        await eventually(lambda: cache.memory.hit("page", "k", Any) != "old", "the follower has heard of it")
        assert await cache.get("page", "k") is None


async def test_an_overwrite_reaches_the_memory_of_other_processes(
    redis_server: RedisServer, prefix: str
) -> None:
    one, two = (manager(redis_server, prefix) for _ in range(2))
    async with one, two:
        await one.set("page", "k", "first")
        assert await two.get("page", "k") == "first"
        await one.set("page", "k", "second")
        assert await one.get("page", "k") == "second"
        await eventually(lambda: two.memory.hit("page", "k", Any) != "first", "the overwrite is heard of")
        assert await two.get("page", "k") == "second"


async def test_a_shorter_life_reaches_the_memory_of_other_processes(
    redis_server: RedisServer, prefix: str
) -> None:
    one, two = (manager(redis_server, prefix) for _ in range(2))
    async with one, two:
        await one.set("page", "k", "v")
        assert await two.get("page", "k") == "v"
        assert await one.expire("page", "k", 1.0)

        async def has_ended() -> bool:
            return await two.get("page", "k") is None

        await eventually(has_ended, "the copy ends with its entry")


@BOTH
async def test_an_invalidation_during_a_load_keeps_its_result_out_of_memory(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache, manager(redis_server, prefix, tiers) as other:
        gate, begun = asyncio.Event(), asyncio.Event()
        source = "old"

        async def load() -> str:
            value = source
            begun.set()
            await gate.wait()
            return value

        reading = asyncio.create_task(cache.get_or_load("page", "k", load))
        await begun.wait()
        source = "new"
        await other.invalidate(Key("page", "k"))
        await cache.log.catch_up()
        gate.set()
        assert await reading == "old"  # it began before
        assert await cache.get_or_load("page", "k", load) == "new"
        assert await cache.get("page", "k") == "new"


async def test_a_frozen_server_ends_bounded_hits_and_serves_for_as_long_as_the_type_says(
    own_redis_server: RedisServer,
) -> None:
    config: dict[str, Any] = {"ttl": 60, "tiers": ["memory", "redis"], "memory_bound": 0.2}
    cache = make_manager(
        own_redis_server, "p", long={**config, "on_outage": 60}, none={**config, "on_outage": "bypass"}
    )
    cache.link.timeout = 0.2
    async with cache:
        for name in ("long", "none"):
            await cache.set(name, "k", "v")
            assert await cache.get(name, "k") == "v"
        own_redis_server.freeze()
        await eventually(
            lambda: cache.memory.hit("none", "k", Any) != "v",
            "nothing proves that it is still known to be alive",
        )
        assert await cache.get("none", "k") is None
        assert await cache.get("long", "k") == "v"
        assert (await cache.invalidate(Key("long", "k"))).log_id is None
        assert await cache.get("long", "k") is None  # obeyed here at once
        own_redis_server.thaw()
        await eventually(lambda: cache.link.ready and cache.log.epoch, "the server is back")

        async def is_back() -> bool:
            return bool(await cache.get("none", "k") == "v")

        await eventually(is_back, "what was not invalidated is served again")
        assert await cache.get("long", "k") is None


async def test_what_is_loaded_while_the_server_is_away_is_kept_in_memory(
    own_redis_server: RedisServer,
) -> None:
    cache = manager(own_redis_server, "p", memory_bound=0.2)
    cache.link.timeout = 0.2
    loads = 0

    async def load() -> str:
        nonlocal loads
        loads += 1
        return "loaded"

    async with cache:
        own_redis_server.kill()
        await eventually(lambda: not cache.link.ready, "the link is down")
        for _ in range(10):
            assert await cache.get_or_load("page", "k", load) == "loaded"
        assert loads == 1


@BOTH
async def test_memory_never_outlives_the_time_to_live(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers, memory_ttl=30) as cache:
        await cache.set("page", "k", "v", ttl=0.3)
        assert await cache.get("page", "k") == "v"

        async def has_ended() -> bool:
            return await cache.get("page", "k") is None

        await eventually(has_ended, "it has expired")


async def test_memory_may_keep_entries_shorter_than_the_server(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, memory_ttl=0.1) as cache:
        await cache.set("page", "k", "v")
        await eventually(lambda: cache.memory.hit("page", "k", Any) != "v", "memory has let it go")
        assert await cache.get("page", "k") == "v"


@dataclass
class Point:
    x: int
    y: int


@BOTH
async def test_values_come_back_as_what_the_loader_says(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async def load() -> Point:
        return Point(1, 2)

    async with manager(redis_server, prefix, tiers) as cache:
        for _ in range(3):
            assert await cache.get_or_load("page", "k", load) == Point(1, 2)


async def test_a_value_is_made_into_each_type_that_is_asked_for(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as cache:
        await cache.set("page", "k", Point(1, 2))
        for _ in range(2):
            assert await cache.get("page", "k") == {"x": 1, "y": 2}
            assert await cache.get("page", "k", into=Point) == Point(1, 2)
            assert await cache.get("page", "k", into=dict[str, int]) == {"x": 1, "y": 2}
            assert await cache.get("page", "k", into=int) is None  # can't be made of it


@BOTH
async def test_copies_keep_callers_apart(redis_server: RedisServer, prefix: str, tiers: list[str]) -> None:
    async with manager(redis_server, prefix, tiers, memory_copies=True) as cache:
        await cache.set("page", "k", {"list": [1]})
        first = await cache.get("page", "k")
        first["list"].append(2)
        assert await cache.get("page", "k") == {"list": [1]}


@BOTH
async def test_none_is_a_value_in_memory_too(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        await cache.set("page", "k", None)
        for _ in range(2):
            assert await cache.get("page", "k", "default") is None
        assert cache.counters.of("page").hits == 2


async def test_a_lost_log_ends_what_memory_holds(own_redis_server: RedisServer) -> None:
    async with manager(own_redis_server, "p", after_rollback="dead") as cache:
        await cache.set("page", "k", "v")
        assert await cache.get("page", "k") == "v"
        own_redis_server.client().flushall()
        await eventually(lambda: cache.memory.hit("page", "k", Any) != "v", "the log is seen to be lost")
        assert await cache.get("page", "k") is None


async def test_memory_stays_within_its_bounds(redis_server: RedisServer, prefix: str) -> None:
    cache = manager(redis_server, prefix)
    cache.memory = type(cache.memory)(cache.log, cache.counters, cache.access, entries=50, max_bytes=1 << 20)
    cache.storage._memory = cache.memory
    async with cache:
        for n in range(200):
            await cache.set("page", f"k{n}", "v")
            assert await cache.get("page", f"k{n}") == "v"
        assert len(cache.memory.store) <= 50
        assert await cache.get("page", "k0") == "v"  # from the server


async def test_reads_that_shared_a_fetch_each_have_a_value_afterwards(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as cache, manager(redis_server, prefix) as peer:
        await peer.set("page", "k", {"n": 1})

        async def read_twice() -> list[Any]:
            return [await cache.get("page", "k"), await cache.get("page", "k")]

        assert await asyncio.gather(*(read_twice() for _ in range(3))) == [[{"n": 1}] * 2] * 3
        assert await cache.get("page", "k") == {"n": 1}
