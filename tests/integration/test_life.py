"""Connecting again, closing while loads hang, and another event loop."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core import CacheConfig, CacheManager, Key, UsageError
from stoker.core.loading.flights import LoadCancelledError
from tests.servers import RedisServer
from tests.waiting import eventually


def make(server: RedisServer, *, timeout: float = 0.2, connect_timeout: float = 5) -> CacheManager:
    config = CacheConfig.model_validate(
        {"prefix": "t", "redis": {"url": server.url, "timeout": timeout, "connect_timeout": connect_timeout}}
    )
    return CacheManager(config, recording=False)


async def test_a_manager_may_be_connected_again(own_redis_server: RedisServer) -> None:
    cache = make(own_redis_server)
    for _ in range(2):
        assert await cache.connect()
        assert await cache.set("db_query", "k", 1)
        await cache.close()
    await cache.connect()
    own_redis_server.freeze()
    assert not (await cache.invalidate(Key("db_query", "k"))).acknowledged
    own_redis_server.thaw()
    await eventually(lambda: not cache.log.kept, "what is kept after the second connect is appended, too")
    await cache.close()


async def test_closing_does_not_wait_for_a_load_that_hangs(own_redis_server: RedisServer) -> None:
    async def hang() -> int:
        await asyncio.Event().wait()
        return 1

    cache = make(own_redis_server)
    await cache.connect()
    waiting = asyncio.create_task(cache.get_or_load("db_query", "k", hang))
    await eventually(lambda: cache.counters.of("db_query").loads == 1, "it loads")
    await cache.close(timeout=0.01)
    with pytest.raises(LoadCancelledError):
        await waiting


async def test_a_load_that_hangs_is_given_up(own_redis_server: RedisServer) -> None:
    loads = 0

    async def hang_once() -> int:
        nonlocal loads
        loads += 1
        if loads == 1:
            await asyncio.Event().wait()
        return loads

    config = CacheConfig.model_validate(
        {
            "prefix": "t",
            "redis": {"url": own_redis_server.url, "timeout": 10, "connect_timeout": 5},
            "types": {"product": {"load_timeout": 0.05}},
        }
    )
    async with CacheManager(config, recording=False) as cache:
        with pytest.raises(TimeoutError):
            await cache.get_or_load("product", "k", hang_once)
        assert await cache.get_or_load("product", "k", hang_once) == 2


def test_another_event_loop_is_told_apart_from_an_outage(own_redis_server: RedisServer) -> None:
    cache = make(own_redis_server)

    async def connect() -> None:
        await cache.connect()
        assert await cache.set("db_query", "k", 1)

    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(connect())
        for call in (cache.get("db_query", "k"), cache.set("db_query", "k", 2), cache.close()):
            with pytest.raises(UsageError, match="another event loop"):
                other.run(call)
        one.run(cache.close())
