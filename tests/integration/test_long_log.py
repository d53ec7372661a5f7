"""A process serves once it has read the newest records of a long log; older ones it reads behind."""

from __future__ import annotations

import pytest

from stoker.core import CacheManager, Key, Tag
from stoker.core.log.backlog import FIRST_COUNT, Backlog
from stoker.core.log.history import History
from stoker.core.log.position import START, parse_position
from stoker.core.maintenance.sweep import sweep
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

RECORDS = 3 * FIRST_COUNT


async def make_long(server: RedisServer, cache: CacheManager, records: int = RECORDS) -> None:
    """Two entries, one of them killed, then so many records that it takes several readings to get there."""
    await cache.set("db_query", "dead", 1)
    await cache.set("db_query", "alive", 1)
    await cache.invalidate(Key("db_query", "dead"))
    pipeline = server.client().pipeline()
    for number in range(records):
        pipeline.xadd(cache.keys.log, {"tag": f"other-{number}"})
    pipeline.execute()


async def test_each_reading_is_bounded_and_lowers_the_horizon(own_redis_server: RedisServer) -> None:
    async with make_manager(own_redis_server, "t") as cache:
        await make_long(own_redis_server, cache)
        history = History()
        backlog = Backlog(cache.keys, history, lambda *_: None, cache.log.epoch)
        horizons: list[int] = []
        while not backlog.done:
            await backlog.read(cache.link.call)
            horizons.append(history.horizon)
        assert len(horizons) == RECORDS // FIRST_COUNT + 1
        assert horizons == sorted(horizons, reverse=True)
        assert horizons[-1] == START, "the log begins where it should"
        assert backlog.epoch_start != START
        newest = own_redis_server.client().xrevrange(cache.keys.log, count=1)[0][0]
        assert backlog.newest == (parse_position(newest), newest)


async def test_records_with_many_scopes_make_readings_shorter(own_redis_server: RedisServer) -> None:
    async with make_manager(own_redis_server, "t") as cache:
        for number in range(60):
            await cache.invalidate(*(Tag(f"{number}-{scope}") for scope in range(1_000)))
        await make_long(own_redis_server, cache)
        for number in range(60):
            await cache.invalidate(*(Tag(f"{number}-{scope}") for scope in range(1_000)))
        asked: list[int] = []
        backlog = Backlog(cache.keys, History(), lambda *_: None, cache.log.epoch)

        async def call(*command: str | int) -> object:
            asked.append(int(command[-1])) if command[0] == "XREVRANGE" else None
            return await cache.link.call(*command)

        while not backlog.done:
            await backlog.read(call)
        assert asked[0] == FIRST_COUNT
        assert asked[1] < FIRST_COUNT


async def test_what_is_not_reached_yet_counts_as_dead_and_comes_back(own_redis_server: RedisServer) -> None:
    async with make_manager(own_redis_server, "t") as cache:
        await make_long(own_redis_server, cache)
        async with make_manager(own_redis_server, "t") as late:
            for _ in range(20):
                assert await late.get("db_query", "dead") is None

            async def lives() -> bool:
                assert await late.get("db_query", "dead") is None
                return bool(await late.get("db_query", "alive") == 1)

            await eventually(lives, "read back")
            assert await late.log.read_back()
            assert late.log.known_from == cache.log.known_from
            assert late.log.epoch_start == cache.log.epoch_start


async def test_a_sweep_waits_until_all_is_known(own_redis_server: RedisServer) -> None:
    async with make_manager(own_redis_server, "t") as cache:
        await make_long(own_redis_server, cache, 30 * FIRST_COUNT)
        async with make_manager(own_redis_server, "t") as late:
            assert (await sweep(late, minimum_age=0, minimum_records=0)).unlinked == 1
            assert await late.get("db_query", "alive") == 1


@pytest.mark.parametrize("when", ["before it was read", "while it is read"])
async def test_a_trim_meanwhile_brings_nothing_back_and_costs_nothing(
    own_redis_server: RedisServer, when: str
) -> None:
    async with make_manager(own_redis_server, "t") as cache:
        await make_long(own_redis_server, cache)
        history = History()
        backlog = Backlog(cache.keys, history, lambda *_: None, cache.log.epoch)
        if when == "while it is read":
            await backlog.read(cache.link.call)
        assert (await sweep(cache, minimum_age=0, minimum_records=0)).status == "done"
        while not backlog.done:
            await backlog.read(cache.link.call)
        assert history.horizon == START, "what the trimmed records killed was unlinked before"
        assert await cache.log.catch_up()
        assert history.swept == cache.log.history.swept


async def test_a_log_cut_by_a_stranger_meanwhile_raises_the_horizon(own_redis_server: RedisServer) -> None:
    client = own_redis_server.client()
    async with make_manager(own_redis_server, "t") as cache:
        await make_long(own_redis_server, cache)
        history = History()
        backlog = Backlog(cache.keys, history, lambda *_: None, cache.log.epoch)
        await backlog.read(cache.link.call)
        client.xtrim(cache.keys.log, maxlen=RECORDS // 2, approximate=False)
        oldest = client.xrange(cache.keys.log, count=1)[0][0]
        while not backlog.done:
            await backlog.read(cache.link.call)
        assert history.horizon == parse_position(oldest)
