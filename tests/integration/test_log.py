"""What the log says of itself: how old its knowledge is, when it changed, and what is told together."""

from __future__ import annotations

import asyncio

from stoker.core import Key, Tag
from stoker.core.clock import boottime
from stoker.core.log.appending import MAX_RECORD_SCOPES
from stoker.core.log.fleet_log import CHECK_COUNT
from stoker.core.log.position import parse_position
from stoker.core.log.scopes import Copy
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually


async def test_what_is_told_in_one_turn_is_one_record(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache:
        before, version = client.xlen(cache.keys.log), cache.log.version
        told = await asyncio.gather(
            cache.log.tell(Key("db_query", "1")),
            cache.log.tell(Key("db_query", "2"), Copy("session", "3")),
            cache.log.tell(Tag("red")),
        )
        [(stream_id, fields)] = client.xrevrange(cache.keys.log, count=1)
        assert set(told) == {parse_position(stream_id)}
        assert client.xlen(cache.keys.log) == before + 1
        assert sorted(fields) == [b"copy", b"key", b"tag"]
        assert cache.log.version != version
        assert await cache.log.tell(Tag("later")) > told[0]


async def test_more_than_a_record_holds_becomes_several(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache:
        half = [Key("db_query", str(number)) for number in range(MAX_RECORD_SCOPES // 2)]
        told = await asyncio.gather(*(cache.log.tell(*half) for _ in range(5)))
        records = [parse_position(stream_id) for stream_id, _ in client.xrevrange(cache.keys.log, count=3)]
        assert sorted(told) == sorted([records[0], records[1], records[1], records[2], records[2]])


async def test_what_can_not_be_told_is_kept_and_obeyed(own_redis_server: RedisServer) -> None:
    client = own_redis_server.client()
    async with make_manager(own_redis_server, "t") as cache:
        client.config_set("maxmemory", "1")
        version = cache.log.version
        assert await cache.log.tell(Key("db_query", "1"), Copy("session", "2")) == 0
        assert cache.log.version != version
        seen = cache.log.seen
        assert cache.log.killer("db_query", "1", (), seen)
        assert cache.log.copy_killer("session", "2", seen)
        assert not cache.log.copy_killer("session", "3", seen)
        client.config_set("maxmemory", "0")
        await eventually(lambda: cache.log.kept.empty, "appended once there is room")
        [(_, fields)] = client.xrevrange(cache.keys.log, count=1)
        assert fields == {b"key": b"db_query:1", b"copy": b"session:2"}


async def test_a_copy_kills_nothing_in_redis(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as peer:
        await cache.set("db_query", "1", 1)
        seen = peer.log.seen
        position = await cache.log.tell(Copy("db_query", "1"))
        assert await peer.get("db_query", "1") == 1
        assert peer.log.copy_killer("db_query", "1", seen) == position
        assert peer.log.copy_killer("db_query", "1", position) == 0


async def test_a_check_proves_what_was_acknowledged_before_it_was_sent(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        before = boottime()
        check = cache.log.check()
        sent = boottime()
        assert not check.done
        await check.wait()
        assert check.complete
        assert before <= cache.log.proved <= sent


async def test_a_check_that_was_cut_off_proves_nothing(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache:
        proved = cache.log.proved
        pipeline = client.pipeline()
        for number in range(CHECK_COUNT):
            pipeline.xadd(cache.keys.log, {"tag": str(number)})
        pipeline.execute()
        check = cache.log.check()
        await check.wait()
        assert (check.complete, check.failed) == (False, False)
        assert cache.log.proved == proved
        assert await cache.log.catch_up()
        assert cache.log.proved > proved


async def test_a_lost_log_takes_the_proof_with_it(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        version, epoch = cache.log.version, cache.log.epoch
        redis_server.client().delete(cache.keys.log)
        check = cache.log.check()
        await check.wait()
        assert check.failed
        assert cache.log.proved == float("-inf")
        assert cache.log.version != version
        assert await cache.log.resync()
        assert cache.log.epoch not in {0, epoch}
        assert cache.log.proved > check.at


async def test_what_is_known_is_obeyed_until_the_log_was_read_anew(own_redis_server: RedisServer) -> None:
    async with make_manager(own_redis_server, "t") as cache:
        born = cache.log.seen
        await cache.invalidate(Key("db_query", "1"))
        cache.log.lose()
        own_redis_server.kill()
        await eventually(lambda: not cache.link.ready, "the loss is noticed")
        assert cache.log.killer("db_query", "1", (), born)
        assert cache.log.epoch == 0
        assert cache.log.last_epoch
