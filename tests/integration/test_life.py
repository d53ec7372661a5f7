"""Connecting again, closing while loads hang, and another event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context

import pytest

from stoker.core import CacheConfig, CacheManager, Key, SyncCacheManager, UsageError, init_default_cache
from stoker.core.loading.flights import LoadCancelledError
from tests.servers import RedisServer
from tests.waiting import eventually, wait_until


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


async def test_closing_that_is_cut_off_closes_all_the_same(own_redis_server: RedisServer) -> None:
    async def hang() -> int:
        await asyncio.Event().wait()
        return 1

    before, cache = asyncio.all_tasks(), make(own_redis_server)
    await cache.connect()
    waiting = asyncio.create_task(cache.get_or_load("db_query", "k", hang))
    await eventually(lambda: cache.counters.of("db_query").loads == 1, "it loads")
    closing = asyncio.create_task(cache.close(timeout=60))
    await eventually(lambda: not cache.is_open, "it waits for the load")
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(LoadCancelledError):
        await waiting
    assert not cache.link.ready
    await eventually(lambda: asyncio.all_tasks() <= before, "nothing goes on")


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def patient(url: str) -> CacheConfig:
    return CacheConfig.model_validate({"redis": {"url": url, "connect_timeout": 60}})


async def test_a_connect_that_is_cut_off_leaves_nothing_running(silent: str) -> None:
    before, config = asyncio.all_tasks(), patient(silent)

    async def use() -> None:
        async with CacheManager(config):
            pass

    for begin in (use, lambda: init_default_cache(config)):
        opening = asyncio.create_task(begin())
        await eventually(
            lambda: "stoker-link" in {task.get_name() for task in asyncio.all_tasks()}, "it tries"
        )
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await eventually(lambda: asyncio.all_tasks() <= before, "nothing goes on")


def test_a_first_call_that_takes_too_long_leaves_nothing_running(silent: str) -> None:
    cache = SyncCacheManager(patient(silent))

    async def names() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks()}

    for _ in range(2):
        with pytest.raises(TimeoutError):
            cache.perform(lambda manager: manager.get("db_query", "k"), timeout=0.05)
        wait_until(lambda: "stoker-link" not in cache._home.loop.run(names()), "it is tried no more")
    cache.close()


REQUEST: ContextVar[object] = ContextVar("request")


class Request:
    """What hangs on a request, such as its body."""


def handled(use: Callable[[], object]) -> weakref.ref[Request]:
    """Use a cache within a request."""
    request = Request()
    REQUEST.set(request)
    use()
    return weakref.ref(request)


def test_the_first_request_does_not_live_as_long_as_the_connection(own_redis_server: RedisServer) -> None:
    with contextlib.closing(SyncCacheManager(make(own_redis_server).config)) as cache:
        request = copy_context().run(handled, lambda: cache.set("db_query", "k", 1))
        gc.collect()
        assert request() is None


async def test_a_request_that_connects_does_not_live_as_long_as_the_connection(
    own_redis_server: RedisServer,
) -> None:
    cache, seen = make(own_redis_server), list[object]()

    class Seeing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(REQUEST.get(None))

    async def handle() -> weakref.ref[Request]:
        request = Request()
        REQUEST.set(request)
        await cache.connect()
        await cache.set("db_query", "k", 1)
        return weakref.ref(request)

    request = await asyncio.create_task(handle())
    await eventually(lambda: (gc.collect(), request())[1] is None, "nothing holds the request")
    logger, handler = logging.getLogger("stoker"), Seeing()
    logger.addHandler(handler)
    try:
        REQUEST.set("another")
        connections = cache.link.connections
        own_redis_server.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: cache.link.connections > connections and cache.link.ready, "it is back")
    finally:
        logger.removeHandler(handler)
    assert seen, "it is said that the link was down"
    assert not any(seen)
    await cache.close()


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
