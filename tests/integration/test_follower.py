"""The follower keeps a process's knowledge of the log young, also when nobody reads."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from stoker.core import CacheManager, Key, Tag
from stoker.core.clock import boottime
from stoker.core.log.fleet_log import InvalidationLog
from stoker.core.log.follower import Follower
from stoker.core.log.position import parse_position
from stoker.core.maintenance.sweep import sweep
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

#: So long that within a test nothing is learnt by time alone.
LONG = 3600.0


@asynccontextmanager
async def following(cache: CacheManager, bound: float = LONG) -> AsyncGenerator[Follower]:
    assert isinstance(cache.log, InvalidationLog)
    follower = Follower(cache.log, cache.link, cache.keys, bound)
    follower.start()
    try:
        yield follower
    finally:
        await follower.stop()


async def knows(cache: CacheManager, position: int) -> None:
    await eventually(lambda: cache.log.seen >= position, "what was appended is known")


async def renewed(cache: CacheManager, since: float) -> None:
    await eventually(lambda: cache.log.proved > since, "a check that was sent since is answered")


def waiting_clients(server: RedisServer) -> list[str]:
    """The ids of connections that wait in XREAD."""
    return [c["id"] for c in server.client().client_list() if "b" in c["flags"] and c["cmd"] == "xread"]


async def test_what_others_append_is_known_without_any_read(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    async with make_manager(server, "t") as cache, make_manager(server, "t") as peer, following(cache):
        for number in range(3):
            receipt = await peer.invalidate(Key("db_query", str(number)))
            position = parse_position(receipt.log_id or "")
            await knows(cache, position)
            assert cache.log.killer("db_query", str(number), (), position - 1) == position


async def test_records_that_come_together_share_a_check(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    async with make_manager(server, "t") as cache, following(cache) as follower:
        await eventually(lambda: waiting_clients(server), "it waits")
        pipeline = server.client().pipeline()
        for number in range(1_000):
            pipeline.xadd(cache.keys.log, {"tag": str(number)})
        await knows(cache, parse_position(pipeline.execute()[-1]))
        assert follower.rings < 20


async def test_while_nothing_happens_the_proof_is_renewed(own_redis_server: RedisServer) -> None:
    async with make_manager(own_redis_server, "t") as cache, following(cache, 0.06):
        for _ in range(3):
            await renewed(cache, boottime())


async def test_a_frozen_server_proves_nothing_until_it_answers(own_redis_server: RedisServer) -> None:
    server, bound = own_redis_server, 0.15
    async with make_manager(server, "t") as cache, following(cache, bound):
        server.freeze()
        await eventually(lambda: boottime() - cache.log.proved > bound, "the knowledge grows old")
        server.thaw()
        await renewed(cache, boottime())


async def test_without_the_doorbell_the_log_is_read_by_time(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_redis_server
    async with make_manager(server, "t") as cache, make_manager(server, "t") as peer:
        server.client().execute_command("ACL", "SETUSER", "default", "-xread")
        with caplog.at_level(logging.WARNING, "stoker"):
            async with following(cache, 0.15) as follower:
                await eventually(lambda: "doorbell_lost" in caplog.text, "the loss is told")
                receipt = await peer.invalidate(Tag("a"))
                position = parse_position(receipt.log_id or "")
                await knows(cache, position)
                assert follower.rings == 0
                server.client().execute_command("ACL", "SETUSER", "default", "+xread")
                await eventually(lambda: "doorbell_back" in caplog.text, "the doorbell is found again")
        assert caplog.text.count("action=doorbell_lost") == 1


async def test_a_doorbell_that_is_cut_off_is_opened_again(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    async with make_manager(server, "t") as cache, make_manager(server, "t") as peer, following(cache):
        await eventually(lambda: waiting_clients(server), "it waits")
        [first] = waiting_clients(server)
        server.client().client_kill_filter(_id=first)
        await eventually(lambda: set(waiting_clients(server)) - {first}, "another one waits")
        receipt = await peer.invalidate(Tag("a"))
        position = parse_position(receipt.log_id or "")
        await knows(cache, position)


async def test_a_process_that_lagged_behind_a_trim_finds_its_place_again(
    own_redis_server: RedisServer,
) -> None:
    server = own_redis_server
    async with make_manager(server, "t") as cache, make_manager(server, "t") as peer:
        for number in range(10):
            await peer.invalidate(Tag(str(number)))
        assert (await sweep(peer, minimum_age=0, minimum_records=0)).status == "done"
        [(oldest, _)] = server.client().xrange(peer.keys.log, count=1)
        assert cache.log.seen < parse_position(oldest), "what it knew last is gone"
        async with following(cache):
            receipt = await peer.invalidate(Tag("a"))
            position = parse_position(receipt.log_id or "")
            await eventually(lambda: cache.log.seen >= position and cache.log.epoch, "it knows again")
            assert cache.log.known_from >= parse_position(oldest), "and judges nothing from before the trim"


async def test_a_lost_log_is_noticed_by_time(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    async with make_manager(server, "t") as cache, following(cache, 0.06):
        before = cache.log.epoch
        server.client().flushall()
        await eventually(lambda: cache.log.epoch not in {0, before}, "a new epoch")


async def test_its_connection_ends_with_it(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    async with make_manager(server, "t") as cache:
        async with following(cache):
            await eventually(lambda: waiting_clients(server), "it waits")
        await eventually(lambda: not waiting_clients(server), "it is closed")
