"""The sweep gives memory back, and nothing dead comes to life by it."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core import CacheManager, Key, Tag
from stoker.core.maintenance.sweep import Sweep, sweep
from tests.managers import make_manager
from tests.servers import RedisServer


async def sweep_all(manager: CacheManager) -> Sweep:
    return await sweep(manager, minimum_age=0, minimum_records=0)


async def test_dead_entries_go_live_ones_stay_and_the_log_is_cut(
    redis_server: RedisServer, prefix: str
) -> None:
    async with (
        make_manager(redis_server, prefix, product={}) as cache,
        make_manager(redis_server, prefix, product={}) as peer,
    ):
        for number in range(20):
            await cache.set("product", str(number), number, tags=["even" if number % 2 == 0 else "odd"])
        for number in range(50):
            await cache.invalidate(Tag(f"unrelated-{number}"))
        await cache.invalidate(Tag("odd"))
        assert await peer.get("product", "0") == 0
        result = await sweep_all(cache)
        assert (result.status, result.scanned, result.unlinked) == ("done", 20, 10)
        assert result.trimmed >= 51
        assert redis_server.client().xlen(cache.keys.log) <= 2
        async with make_manager(redis_server, prefix, product={}) as late:
            for reader in (cache, peer, late):
                found = [await reader.get("product", str(number)) for number in range(20)]
                assert found == [n if n % 2 == 0 else None for n in range(20)]
        assert not any(manager.log.epochs_opened for manager in (peer, late))


async def test_a_load_from_before_the_sweep_is_not_stored(redis_server: RedisServer, prefix: str) -> None:
    loading, go = asyncio.Event(), asyncio.Event()

    async def load() -> str:
        loading.set()
        await go.wait()
        return "before"

    async with make_manager(redis_server, prefix) as slow, make_manager(redis_server, prefix) as sweeper:
        task = asyncio.create_task(slow.get_or_load("db_query", "k", load))
        await loading.wait()
        await sweeper.invalidate(Key("db_query", "k"))
        assert (await sweep_all(sweeper)).status == "done"
        go.set()
        assert await task == "before"
        assert await sweeper.get("db_query", "k") is None
        assert await slow.get("db_query", "k") is None


async def test_nobody_joins_a_load_whose_killers_are_forgotten(
    redis_server: RedisServer, prefix: str
) -> None:
    loading, go = asyncio.Event(), asyncio.Event()
    loads = 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        mine = loads
        loading.set()
        await go.wait()
        return mine

    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as sweeper:
        early = asyncio.create_task(cache.get_or_load("db_query", "k", load))
        await loading.wait()
        await sweeper.invalidate(Key("db_query", "k"), Tag("a"), Tag("b"))
        await sweep_all(sweeper)
        loading.clear()
        late = asyncio.create_task(cache.get_or_load("db_query", "k", load))
        await loading.wait()
        go.set()
        assert (await early, await late) == (1, 2)


async def test_who_is_behind_the_trim_finds_its_place_again(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as idle, make_manager(redis_server, prefix) as busy:
        await busy.set("db_query", "dead", 1)
        await busy.set("db_query", "alive", 1)
        for number in range(300):
            await busy.invalidate(Tag(str(number)))
        await busy.invalidate(Key("db_query", "dead"))
        await sweep_all(busy)
        assert await idle.get("db_query", "alive") == 1
        assert await idle.get("db_query", "dead") is None


@pytest.mark.parametrize("reader", ["old", "new"])
async def test_a_log_cut_by_somebody_else_brings_nothing_back(
    redis_server: RedisServer, prefix: str, reader: str
) -> None:
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as old:
        await cache.set("db_query", "k", 1)
        assert await old.get("db_query", "k") == 1
        await cache.invalidate(Key("db_query", "k"))
        await cache.invalidate(Tag("another"))
        redis_server.client().xtrim(cache.keys.log, maxlen=1, approximate=False)
        if reader == "old":
            assert await old.get("db_query", "k") is None
        async with make_manager(redis_server, prefix) as new:
            assert await new.get("db_query", "k") is None
            assert await new.set("db_query", "k", 2)
            assert await new.get("db_query", "k") == 2


async def test_young_records_and_short_logs_are_left_alone(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        for number in range(10):
            await cache.invalidate(Tag(str(number)))
        assert (await sweep(cache, minimum_age=0, minimum_records=100)).status == "nothing to do"
        assert (await sweep(cache, minimum_age=60, minimum_records=0)).status == "nothing to do"
        assert redis_server.client().xlen(cache.keys.log) == 11


async def test_a_log_over_its_bound_is_cut_at_the_price_of_everything(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("db_query", "k", 1)
        for number in range(20):
            await cache.invalidate(Tag(str(number)))
        result = await sweep(cache, minimum_records=0, maximum_records=10)
        assert result.status == "done"
        assert await cache.get("db_query", "k") is None
        assert redis_server.client().xlen(cache.keys.log) <= 2
        assert await cache.set("db_query", "k", 2)
        assert await cache.get("db_query", "k") == 2


async def test_entries_of_types_and_versions_that_the_sweeper_does_not_know(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    async with (
        make_manager(redis_server, prefix, declared_elsewhere={}) as service,
        make_manager(redis_server, prefix) as sweeper,
    ):
        for key in ("dead", "alive", "newer"):
            await service.set("declared_elsewhere", key, 1)
        name = service.keys.entry("declared_elsewhere", "newer")
        data = client.get(name)
        client.set(name, data[:2] + b"\x09" + data[3:], px=60_000)
        await service.invalidate(Key("declared_elsewhere", "dead"), Key("declared_elsewhere", "newer"))
        assert (await sweep_all(sweeper)).unlinked == 2
        client.set(name, data, px=60_000) if client.exists(name) else None
        async with make_manager(redis_server, prefix, declared_elsewhere={}) as new:
            assert await new.get("declared_elsewhere", "dead") is None
            assert await new.get("declared_elsewhere", "newer") is None
            assert await new.get("declared_elsewhere", "alive") == 1


async def test_an_interrupted_sweep_costs_nobody_an_entry(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("db_query", "k", 1)
        for number in range(5):
            await cache.invalidate(Tag(str(number)))
        await sweep_all(cache)
        await cache.invalidate(Tag("a"))
        client = redis_server.client()
        epoch, _, floor = client.get(cache.keys.fence).split(b":")
        [(newest, _)] = client.xrevrange(cache.keys.log, count=1)
        client.set(cache.keys.fence, b":".join((epoch, newest, floor)))  # it got as far as the fence
        async with make_manager(redis_server, prefix) as new:
            assert await new.get("db_query", "k") == 1
