"""One caller's mistake, or a server that takes nothing, costs the link's other callers nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from stoker.core.errors import LinkError, UsageError
from stoker.core.link.link import Link
from stoker.core.link.sending import MAX_UNSENT_BYTES
from tests.managers import make_manager
from tests.servers import RedisServer


async def test_a_set_from_another_event_loop_leaves_its_owner_whole(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        with pytest.raises(UsageError):
            await asyncio.to_thread(lambda: asyncio.run(cache.set("db_query", "1", 0)))
        assert await asyncio.wait_for(cache.set("db_query", "1", 1), 10)
        assert await asyncio.wait_for(cache.get("db_query", "1"), 10) == 1


async def test_a_callback_that_raises_costs_the_others_nothing(redis_server: RedisServer) -> None:
    link = Link(redis_server.url, connect_timeout=10, timeout=10)
    await link.connect()
    called = asyncio.Event()

    def raise_error() -> None:
        raise RuntimeError("on purpose")

    link.before_flush(raise_error)
    link.before_flush(lambda: link.before_flush(called.set))
    assert await asyncio.wait_for(link.call("PING"), 10) == b"PONG"
    await asyncio.wait_for(called.wait(), 10)
    assert await asyncio.wait_for(link.call("PING"), 10) == b"PONG"
    await link.close()


async def test_what_a_frozen_server_does_not_take_is_bounded(own_redis_server: RedisServer) -> None:
    link = Link(own_redis_server.url, connect_timeout=10, timeout=10)
    await link.connect()
    own_redis_server.freeze()
    part = b"x" * (MAX_UNSENT_BYTES // 8)
    sent: list[asyncio.Future[object]] = []

    async def send_on() -> None:
        while True:
            sent.append(link.send(("SET", "k", part)))
            await asyncio.sleep(0)

    with pytest.raises(LinkError, match="bytes wait"):
        await asyncio.wait_for(send_on(), 20)
    own_redis_server.thaw()
    await asyncio.wait_for(asyncio.gather(*sent), 20)
    assert await asyncio.wait_for(link.call("PING"), 10) == b"PONG"
    await link.close()


def test_what_was_closed_may_be_connected_on_another_event_loop(
    redis_server: RedisServer, prefix: str
) -> None:
    cache = make_manager(redis_server, prefix)

    async def use() -> None:
        async with cache:
            assert await asyncio.wait_for(cache.set("db_query", "1", 1), 10)
            assert await asyncio.wait_for(cache.get("db_query", "1"), 10) == 1
            await asyncio.wait_for(cache.link.wait_ready(), 10)

    asyncio.run(use())
    asyncio.run(use())


ANOTHER_LOOP = """
import asyncio, sys
from stoker.core import CacheConfig, CacheManager

cache = CacheManager(CacheConfig(redis_url=sys.argv[1], key_prefix=sys.argv[2]), recording=False)

async def leave_something():
    await cache.connect()
    await cache.close()
    commit = cache.storage._commits.commit
    # In the loop's last turn: the write that would carry it is the next one's.
    asyncio.get_running_loop().call_soon(lambda: commit("db_query", "left", b"", 1000))

async def go_on():
    async with cache:
        await cache.get("db_query", "k")
        assert await cache.set("db_query", "k", 2)
        assert await cache.get("db_query", "k") == 2

loop = asyncio.new_event_loop()
loop.run_until_complete(leave_something())
assert cache.storage._commits._pending
loop.close()
asyncio.run(asyncio.wait_for(go_on(), 20))
print("went on")
"""


def test_what_waited_on_a_loop_that_was_closed_holds_up_nothing_on_the_next(
    redis_server: RedisServer, prefix: str
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", ANOTHER_LOOP, redis_server.url, prefix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "went on\n", done.stderr


async def test_a_look_whose_read_is_refused_leaves_without_it(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        with monkeypatch.context() as full:
            full.setattr("stoker.core.link.sending.MAX_PENDING", 1)
            assert await cache.get("db_query", "k") is None
        async with asyncio.timeout(10):
            assert await cache.log.catch_up()
