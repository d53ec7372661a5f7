"""What strangers and refusals do to the log costs a look at it, never the cache."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core import Key
from stoker.core.errors import StokerError
from stoker.core.log.position import parse_position
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

FAR_AHEAD = f"{2**63}-0"

BAD_NOTES = [b"\xff\xfe", b"", b"-", b"1_0-0", f"{2**64}-0".encode(), b"9" * 5_000, FAR_AHEAD.encode()]


@pytest.mark.parametrize("note", BAD_NOTES, ids=lambda note: repr(note)[:20])
async def test_a_note_that_no_sweep_wrote_changes_nothing(
    redis_server: RedisServer, prefix: str, note: bytes
) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("db_query", "1", 1)
        client.xadd(cache.keys.log, {"_swept": note})
        assert await cache.get("db_query", "1") == 1
        assert await cache.set("db_query", "2", 2)
        assert (await cache.invalidate(Key("db_query", "1"))).acknowledged
        assert await cache.get("db_query", "1") is None
        assert await cache.get("db_query", "2") == 2
        assert cache.link.connections == 1
    async with make_manager(redis_server, prefix) as late:
        assert late.log.epoch
        assert await late.get("db_query", "2") == 2


@pytest.mark.parametrize("text", [b"\xff", "", "1_0-0", "-1-0", "1-2-3", f"{2**64}-0", f"0-{2**64}", "٣-0"])
def test_what_is_no_stream_id_has_no_position(text: bytes | str) -> None:
    with pytest.raises(StokerError):
        parse_position(text)


async def test_a_look_that_was_refused_is_tried_again(own_redis_server: RedisServer) -> None:
    client = own_redis_server.client()
    async with make_manager(own_redis_server, "t") as cache:
        client.config_set("maxmemory", "1")
        client.delete(cache.keys.log)
        assert await cache.get("db_query", "1") is None
        assert cache.log.epoch == 0
        client.config_set("maxmemory", "0")
        await eventually(lambda: cache.log.epoch, "the log is known again")
        assert await cache.set("db_query", "2", 2)
        assert await cache.get("db_query", "2") == 2
        assert cache.link.connections == 1


async def test_a_handler_that_raises_costs_nobody_else_the_reply(
    redis_server: RedisServer, prefix: str
) -> None:
    def raise_error(_reply: object) -> None:
        raise RuntimeError("on purpose")

    async with make_manager(redis_server, prefix) as cache:
        cache.link.post(("PING",), raise_error)
        assert await asyncio.wait_for(cache.link.call("PING"), 10) == b"PONG"
        cache.link.post(("PING",), raise_error)
        waiting = cache.link.send(("BLPOP", f"{prefix}:nothing", 0))
        redis_server.client().client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(StokerError):
            await asyncio.wait_for(waiting, 10)


@pytest.mark.parametrize("ahead", [True, False], ids=["far ahead", "no string"])
async def test_a_fence_that_is_not_ours_is_made_anew(
    redis_server: RedisServer, prefix: str, ahead: bool
) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache:
        epoch = cache.log.epoch
        if ahead:
            client.set(cache.keys.fence, f"{epoch:016x}:{FAR_AHEAD}:0-0")
        else:
            client.delete(cache.keys.fence)
            client.rpush(cache.keys.fence, "x")
    async with make_manager(redis_server, prefix) as late:
        assert late.log.epoch not in {0, epoch}
        assert await late.set("db_query", "1", 1)
        assert await late.get("db_query", "1") == 1
