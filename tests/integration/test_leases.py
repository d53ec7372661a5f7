"""A key is loaded once for the whole fleet; each manager stands for a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from stoker.core import CacheManager, Key, Recipe, Scope, Tag, Type, loader
from stoker.core.loading import contention
from stoker.core.loading.loads import Load
from tests.managers import make_config, make_manager
from tests.servers import RedisServer
from tests.sources import Source, commands_run, hold_lease
from tests.waiting import eventually


@asynccontextmanager
async def fleet(
    server: RedisServer, prefix: str, size: int, **policy: Any
) -> AsyncGenerator[list[CacheManager]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(make_manager(server, prefix, product=policy)) for _ in range(size)
        ]


def counted(caches: list[CacheManager], name: str) -> int:
    return sum(int(getattr(cache.counters.of("product"), name)) for cache in caches)


def read(cache: CacheManager, source: Source) -> asyncio.Task[Any]:
    return asyncio.create_task(cache.get_or_load("product", "1", source.load))


async def listening(server: RedisServer, asked: int, waiters: int) -> None:
    """Wait until one process has a lease, and so many others wait to hear what became of its load.

    Each of these asks once more when it listens: else it could miss what was told before.

    Args:
        server: The server.
        asked: How often a lease was asked for before all of that.
        waiters: How many others.
    """
    await eventually(lambda: leases_asked(server) >= asked + 1 + 2 * waiters, f"{waiters} listen")


def leases_asked(server: RedisServer) -> int:
    return commands_run(server).get("set", 0)


async def test_a_cold_key_is_loaded_once_for_all_processes(redis_server: RedisServer, prefix: str) -> None:
    source = Source({"price": 1})
    source.gate.clear()
    async with fleet(redis_server, prefix, 4) as caches:
        asked = leases_asked(redis_server)
        waiting = [read(cache, source) for cache in caches for _ in range(10)]
        await eventually(lambda: counted(caches, "leases_waited") == 3, "three processes wait")
        await eventually(lambda: counted(caches, "misses") == 40, "all callers wait")
        await listening(redis_server, asked, 3)
        source.gate.set()
        assert await asyncio.gather(*waiting) == [{"price": 1}] * 40
        assert (source.loads, counted(caches, "sets")) == (1, 1)
        assert (counted(caches, "leases_won"), counted(caches, "loads_joined")) == (1, 39)
        lease = caches[0].keys.lease("product", "1")
        await eventually(lambda: not redis_server.client().exists(lease), "the lease was given back")


async def test_whoever_missed_before_a_load_of_another_process_ended_takes_its_result(
    redis_server: RedisServer, prefix: str
) -> None:
    """The lease is free again by then; what is stored has changed since the miss."""
    source = Source()
    async with fleet(redis_server, prefix, 2) as (cache, other):
        policy = other.policy("product")
        counters = other.counters.of("product")
        missed = await other.storage.look_up("product", "1", policy, counters)
        assert await cache.get_or_load("product", "1", source.load) == 1
        await eventually(
            lambda: not redis_server.client().exists(cache.keys.lease("product", "1")), "the lease is free"
        )
        needed = Load("product", "1", source.load, (), {}, None, lookup=missed)
        assert (await other._loads.run(needed)).value == 1
        assert (source.loads, counters.loads_joined) == (1, 1)


@pytest.mark.parametrize("scope", [Key("product", "1"), Type("product")])
async def test_nobody_waits_for_a_result_that_is_known_to_be_dead(
    redis_server: RedisServer, prefix: str, scope: Scope
) -> None:
    early, late = Source("old"), Source("new")
    early.gate.clear()
    async with fleet(redis_server, prefix, 2) as (cache, other):
        first = read(cache, early)
        await early.reading.wait()
        await other.invalidate(scope)
        assert await read(other, late) == "new"
        assert other.counters.of("product").leases_taken_over == 1
        early.gate.set()
        assert await first == "old", "it had asked before the invalidation"
        assert await cache.get("product", "1") == "new"


async def test_a_waiter_is_not_served_what_an_invalidation_of_its_tag_has_killed(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source("old")
    source.gate.clear()

    @loader(f"leases.tagged.{prefix}", cache_type="product", tags=lambda _: ["t"])
    async def load() -> str:
        return str(await source.load())

    async with fleet(redis_server, prefix, 2) as (cache, other):
        first = asyncio.create_task(cache.get_or_load("product", "1", load))
        await source.reading.wait()
        source.value = "new"
        await other.invalidate(Tag("t"))
        second = asyncio.create_task(other.get_or_load("product", "1", load))
        await eventually(lambda: counted([other], "leases_waited") == 1, "it waits")
        source.gate.set()
        assert await first == "old"
        assert await second == "new"
        assert source.loads == 2


async def test_someone_who_knows_more_joins_a_waiting_load_and_has_it_take_the_lease_over(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHORTEST_WAIT_SECONDS", "LONGEST_WAIT_SECONDS"):
        monkeypatch.setattr(contention, name, 3600.0)  # it does not look again by itself
    source = Source()
    async with fleet(redis_server, prefix, 1) as (cache,):
        hold_lease(redis_server, cache, "product", "1")
        first = read(cache, source)
        await eventually(lambda: counted([cache], "leases_waited") == 1, "it waits for the stranger")
        await cache.invalidate(Key("product", "1"))
        assert await read(cache, source) == 1
        assert await first == 1
        assert (source.loads, counted([cache], "leases_taken_over")) == (1, 1)


async def test_when_the_holder_fails_all_who_wait_load_for_themselves_at_once(
    redis_server: RedisServer, prefix: str
) -> None:
    failing, source = Source(), Source()
    failing.error = LookupError("gone")
    failing.gate.clear()
    source.gate.clear()
    async with fleet(redis_server, prefix, 4) as (cache, *others):
        asked = leases_asked(redis_server)
        first = read(cache, failing)
        await failing.reading.wait()
        waiting = [read(other, source) for other in others]
        await listening(redis_server, asked, 3)
        failing.gate.set()
        with pytest.raises(LookupError, match="gone"):
            await first
        await eventually(lambda: source.loading == 3, "they load side by side, not one after the other")
        source.gate.set()
        assert await asyncio.gather(*waiting) == [1, 1, 1]


async def test_a_value_that_cannot_be_stored_is_loaded_by_each_and_by_none_after_another(
    redis_server: RedisServer, prefix: str
) -> None:
    value = object()
    source = Source(value)
    source.gate.clear()
    async with fleet(redis_server, prefix, 3) as caches:
        waiting = [read(cache, source) for cache in caches]
        await eventually(lambda: counted(caches, "leases_waited") == 2, "two wait")
        source.gate.set()
        assert await asyncio.gather(*waiting) == [value] * 3


async def test_a_holder_that_is_gone_is_replaced_when_its_lease_has_run_out(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    async with fleet(redis_server, prefix, 3) as caches:
        hold_lease(redis_server, caches[0], "product", "1", px=300)
        assert await asyncio.gather(*(read(cache, source) for cache in caches)) == [1, 1, 1]
        assert (source.loads, counted(caches, "leases_waited")) == (1, 3)


async def test_a_lease_is_renewed_while_its_loader_runs(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    source.gate.clear()
    # A quarter of the load's limit: the shortest lease.
    async with fleet(redis_server, prefix, 2, load_timeout=100) as (cache, other):
        first = read(cache, source)
        await source.reading.wait()
        client, lease = redis_server.client(), cache.keys.lease("product", "1")
        before = commands_run(redis_server).get("pexpire", 0)
        await eventually(lambda: commands_run(redis_server).get("pexpire", 0) >= before + 2, "renewed twice")
        assert 0 < client.pttl(lease) <= 2000
        second = read(other, source)
        await eventually(lambda: counted([other], "leases_waited") == 1, "the other waits")
        source.gate.set()
        assert [await first, await second] == [1, 1]
        assert source.loads == 1


async def test_whoever_lost_its_lease_stores_its_result_and_leaves_the_successor_alone(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    source.gate.clear()
    async with fleet(redis_server, prefix, 2) as (cache, other):
        first = read(cache, source)
        await source.reading.wait()
        client = redis_server.client()
        client.unlink(cache.keys.lease("product", "1"))
        lease = hold_lease(redis_server, cache, "product", "1")
        second = read(other, source)
        await eventually(lambda: counted([other], "leases_waited") == 1, "somebody waits for the successor")
        source.gate.set()
        assert await first == 1
        assert await second == 1, "told of the result all the same"
        assert client.get(lease).startswith(b"stranger")
        assert source.loads == 1


async def test_a_wait_ends_with_the_load_timeout(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    async with fleet(redis_server, prefix, 1, load_timeout=0.3) as (cache,):
        hold_lease(redis_server, cache, "product", "1")
        with pytest.raises(TimeoutError, match=r"load_timeout=0\.3"):
            await read(cache, source)
        assert source.loads == 0


async def test_without_leases_each_process_loads(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    source.gate.clear()
    async with fleet(redis_server, prefix, 2, lease=False) as caches:
        waiting = [read(cache, source) for cache in caches]
        await eventually(lambda: source.loading == 2, "both load")
        assert not redis_server.client().exists(caches[0].keys.lease("product", "1"))
        source.gate.set()
        await asyncio.gather(*waiting)


async def test_a_refresh_behind_an_answer_is_left_to_whoever_is_at_it(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    async with fleet(redis_server, prefix, 1, early=0.999, ttl=3600) as (cache,):
        assert await read(cache, source) == 1
        await eventually(lambda: not redis_server.client().exists(lease_of(cache)), "the lease is free")
        lease = hold_lease(redis_server, cache, "product", "1")
        before = commands_run(redis_server)["set"]

        async def reads_on() -> bool:
            assert await read(cache, source) == 1
            return commands_run(redis_server)["set"] > before

        await eventually(reads_on, "it asked for the lease")
        for _ in range(20):
            await read(cache, source)
        assert commands_run(redis_server)["set"] <= before + 2, "it does not ask at every hit"
        assert source.loads == 1
        redis_server.client().unlink(lease)

        async def refreshed() -> bool:
            await read(cache, source)
            return source.loads == 2

        await eventually(refreshed, "nobody is at it any more")


def lease_of(cache: CacheManager) -> str:
    return cache.keys.lease("product", "1")


async def test_warming_leaves_a_key_to_whoever_loads_it(redis_server: RedisServer, prefix: str) -> None:
    source = Source()

    @loader(f"leases.warm.{prefix}", cache_type="product")
    async def load() -> int:
        return int(await source.load())

    async with fleet(redis_server, prefix, 1) as (cache,):
        recipe = Recipe(f"leases.warm.{prefix}")
        lease = hold_lease(redis_server, cache, "product", "1")
        loaded = await cache.reload("product", "1", recipe)
        assert (loaded.void, source.loads) == (True, 0)
        redis_server.client().unlink(lease)
        assert (await cache.reload("product", "1", recipe)).stored


async def test_a_reader_does_not_take_the_void_result_of_a_refresh_for_a_value(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()

    @loader(f"leases.void.{prefix}", cache_type="product")
    async def load() -> int:
        return int(await source.load())

    async with fleet(redis_server, prefix, 1) as (cache,):
        hold_lease(redis_server, cache, "product", "1", px=300)
        warm = asyncio.create_task(cache.reload("product", "1", Recipe(f"leases.void.{prefix}")))
        reader = asyncio.create_task(cache.get_or_load("product", "1", load))
        assert (await warm).void
        assert await reader == 1


async def test_a_hit_costs_its_fetch_and_the_check_of_the_log(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    async with fleet(redis_server, prefix, 1) as (cache,):
        await read(cache, source)
        await eventually(lambda: not redis_server.client().exists(lease_of(cache)), "the lease is free")
        before = commands_run(redis_server)
        for _ in range(100):
            await cache.get_or_load("product", "1", source.load)
        after = commands_run(redis_server)
        spent = {name: calls - before.get(name, 0) for name, calls in after.items()}
        assert {name: calls for name, calls in spent.items() if calls and name != "info"} == {
            "xrange": 100,
            "getrange": 100,
        }


async def test_who_may_not_subscribe_waits_by_looking_again(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The default of ACL users: no channels."""
    own_redis_server.client().acl_setuser(
        "app", enabled=True, passwords=["+secret"], categories=["+@all"], keys=["*"], reset_channels=True
    )
    source = Source()
    source.gate.clear()
    config = make_config(own_redis_server, "p", product={})
    url = own_redis_server.url.replace("redis://", "redis://app:secret@")
    config = config.model_copy(update={"redis": config.redis.model_copy(update={"url": url})})
    async with CacheManager(config, recording=False) as cache, CacheManager(config, recording=False) as other:
        first = read(cache, source)
        await source.reading.wait()
        second = read(other, source)
        await eventually(lambda: counted([other], "leases_waited") == 1, "the other waits")
        source.gate.set()
        assert [await first, await second] == [1, 1]
        assert source.loads == 1
    assert [line for line in caplog.messages if line.startswith("action=bell_")][1:] == []


async def test_a_bell_whose_connection_was_lost_is_opened_again(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    source, client = Source(), own_redis_server.client()
    async with fleet(own_redis_server, "p", 2) as (cache, other):
        for key in ("1", "2"):
            source.gate.clear()
            source.reading.clear()
            first = asyncio.create_task(cache.get_or_load("product", key, source.load))
            await source.reading.wait()
            second = asyncio.create_task(other.get_or_load("product", key, source.load))
            await eventually(client.pubsub_channels, "the other listens")
            source.gate.set()
            assert [await first, await second] == [1, 1]
            client.client_kill_filter(_type="pubsub")
    assert source.loads == 2


async def test_while_an_invalidation_settles_nobody_waits_for_what_will_be_dead(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    source.gate.clear()
    async with fleet(redis_server, prefix, 2, settle=3600) as (cache, other):
        await cache.invalidate(Key("product", "1"))
        waiting = [read(cache, source), read(other, source)]
        await eventually(lambda: source.loading == 2, "each loads for itself")
        source.gate.set()
        assert await asyncio.gather(*waiting) == [1, 1]
        assert counted([cache, other], "leases_waited") == 0
