"""Closing holds its time, starts nothing afterwards, and says what is lost; a loader's slips stay small."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from stoker.core import CacheManager, Key, Tag, loader
from stoker.core.loading.flights import LoadCancelledError
from stoker.core.log.kept import KeptInvalidations
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually


def said(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    return [line for line in caplog.messages if line.startswith(f"action={action} ")]


async def loading(
    server: RedisServer, prefix: str, load: Callable[[], Awaitable[int]]
) -> tuple[CacheManager, asyncio.Task[int]]:
    """A cache that loads, and who waits for it."""
    cache = make_manager(server, prefix)
    await cache.connect()
    waiting = asyncio.create_task(cache.get_or_load("db_query", "k", load))
    await eventually(lambda: cache.counters.of("db_query").loads == 1, "it loads")
    return cache, waiting


async def test_closing_gives_up_a_loader_that_swallows_its_cancellation(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    released = asyncio.Event()

    async def stubborn() -> int:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()
        return 1

    cache, waiting = await loading(redis_server, prefix, stubborn)
    await cache.close(timeout=0.01)
    assert not waiting.done()
    (line,) = said(caplog, "loads_abandoned")
    assert "count=1 first=stoker-load db_query:k" in line
    released.set()
    assert await waiting == 1


async def test_closing_cancels_a_loader_that_has_swallowed_its_load_timeout(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    swallowed = asyncio.Event()

    async def goes_on() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.set()
        await asyncio.Event().wait()

    cache = make_manager(redis_server, prefix, db_query={"load_timeout": 0.05})
    await cache.connect()
    waiting = asyncio.create_task(cache.get_or_load("db_query", "k", goes_on))
    async with asyncio.timeout(10):
        await swallowed.wait()
    await cache.close(timeout=0.01)
    assert not said(caplog, "loads_abandoned")
    with pytest.raises(LoadCancelledError):
        await waiting


async def test_closing_that_is_cancelled_waits_for_no_loader(redis_server: RedisServer, prefix: str) -> None:
    swallowed, released = asyncio.Event(), asyncio.Event()

    async def stubborn() -> int:
        try:
            await released.wait()
        except asyncio.CancelledError:
            swallowed.set()
            await released.wait()
        return 1

    cache, waiting = await loading(redis_server, prefix, stubborn)
    closing = asyncio.create_task(cache.close(timeout=600))
    await eventually(lambda: not cache.is_open, "it is being closed")
    closing.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([closing])
    assert closing.cancelled()
    assert swallowed.is_set()
    assert not waiting.done()
    assert not cache.link.ready, "it is disconnected all the same"
    released.set()
    assert await waiting == 1


async def test_after_closing_an_invalidation_starts_nothing_and_is_said_to_be_lost_once(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_manager(redis_server, prefix)
    await cache.connect()
    await cache.close()
    before = asyncio.all_tasks()
    for number in range(3):
        receipt = await cache.invalidate(Key("db_query", str(number)))
        assert not receipt.acknowledged
    assert asyncio.all_tasks() <= before
    await cache.close()
    assert len(said(caplog, "kept_lost")) == 1


async def test_kept_invalidations_go_on_when_they_are_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    appended: list[Any] = []
    server = asyncio.Event()

    async def append(scopes: Iterable[Any], notes: Any) -> None:
        appended.extend(scopes)

    async def ready() -> None:
        await server.wait()

    kept = KeptInvalidations(append, ready)
    kept.add([Tag("a")], {})
    await kept.close()
    await kept.close()
    assert len(said(caplog, "kept_lost")) == 1
    kept.add([Tag("b")], {})
    assert kept.killer("product", "1", [b"b"]), "obeyed here all the same"
    kept.open()
    server.set()
    await eventually(lambda: not kept, "appended")
    assert appended == [Tag("a"), Tag("b")]
    await kept.close()
    assert len(said(caplog, "kept_lost")) == 1


def failing(value: Any) -> list[str]:
    raise KeyError(value)


@pytest.mark.parametrize("tags", [failing, lambda _: [5], lambda _: "text", lambda _: None, lambda _: [""]])
async def test_a_loader_that_cannot_tell_the_tags_still_gives_its_value(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture, tags: Any
) -> None:
    @loader(f"untaggable.{prefix}", cache_type="db_query", tags=tags)
    async def load(number: int) -> int:
        return number

    async with make_manager(redis_server, prefix) as cache:
        for _ in range(2):
            assert await cache.get_or_load("db_query", "k", load, 7) == 7
        counters = cache.counters.of("db_query")
        assert (counters.loads, counters.unstorable, counters.load_failures) == (2, 2, 0)
        assert await cache.get("db_query", "k") is None
    assert len(said(caplog, "untaggable")) == 1


async def test_whoever_joins_a_load_without_known_tags_is_not_served_what_was_invalidated(
    redis_server: RedisServer, prefix: str
) -> None:
    gate, loads = asyncio.Event(), 0

    @loader(f"untaggable.join.{prefix}", cache_type="db_query", tags=failing)
    async def load() -> int:
        nonlocal loads
        loads += 1
        mine = loads
        await gate.wait()
        return mine

    async with make_manager(redis_server, prefix) as cache:
        first = asyncio.create_task(cache.get_or_load("db_query", "k", load))
        await eventually(lambda: loads == 1, "it loads")
        await cache.invalidate(Tag("a"))
        second = asyncio.create_task(cache.get_or_load("db_query", "k", load))
        gate.set()
        assert await first == 1
        assert await second == 2
