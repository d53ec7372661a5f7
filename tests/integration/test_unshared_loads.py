"""What can't be stored may be good for one use: everybody who waits for it gets one of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from stoker.core import CacheManager, cached
from tests.managers import make_manager
from tests.servers import RedisServer

TIERS = pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"]])


class Source:
    """Loads when it is let."""

    def __init__(self) -> None:
        self.calls = 0
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def wait(self) -> None:
        """Say that it was called, and wait until it is let go."""
        self.calls += 1
        self.asked.set()
        await self.go.wait()

    async def generator(self) -> Iterator[int]:
        await self.wait()
        return iter(range(3))

    async def text(self) -> str:
        await self.wait()
        return "x" * 5000

    async def infinity(self) -> float:
        await self.wait()
        return float("inf")

    async def many(self, keys: list[str]) -> dict[str, Any]:
        await self.wait()
        return {key: iter(range(3)) for key in keys}


async def joined(cache: CacheManager, source: Source, waiting: list[asyncio.Task[Any]]) -> list[Any]:
    """Let a load go when all wait for it."""
    await source.asked.wait()
    for _ in range(50):  # all that can be done without the loader's end
        await cache.exists("page", "another")
    source.go.set()
    return await asyncio.gather(*waiting)


@TIERS
async def test_readers_who_wait_for_a_generator_get_one_each(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": tiers}) as cache:
        source = Source()
        waiting = [asyncio.create_task(cache.get_or_load("page", "k", source.generator)) for _ in range(4)]
        found = await joined(cache, source, waiting)
        assert [list(one) for one in found] == [[0, 1, 2]] * 4
        assert source.calls == 4


@TIERS
async def test_readers_of_many_keys_get_one_each(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": tiers}) as cache:
        source = Source()
        waiting: list[asyncio.Task[Any]] = [
            asyncio.create_task(cache.get_or_load_many("page", ["a", "b"], source.many)) for _ in range(3)
        ]
        found = await joined(cache, source, waiting)
        assert [{key: list(one) for key, one in each.items()} for each in found] == [
            {"a": [0, 1, 2], "b": [0, 1, 2]}
        ] * 3
        assert source.calls == 3


async def test_they_load_at_once_and_not_one_after_the_other(redis_server: RedisServer, prefix: str) -> None:
    """Each of those who waited is let go only when all of them load."""
    async with make_manager(redis_server, prefix, page={}) as cache:
        source, inside, all_inside = Source(), 0, asyncio.Event()

        async def load() -> Any:
            nonlocal inside
            if not source.calls:
                return await source.generator()
            inside += 1
            if inside == 3:
                all_inside.set()
            await all_inside.wait()
            return iter(range(3))

        waiting = [asyncio.create_task(cache.get_or_load("page", "k", load)) for _ in range(4)]
        async with asyncio.timeout(20):
            found = await joined(cache, source, waiting)
        assert [list(one) for one in found] == [[0, 1, 2]] * 4


async def test_what_is_only_too_large_is_shared(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={"max_entry": 1024}) as cache:
        source = Source()
        waiting = [asyncio.create_task(cache.get_or_load("page", "k", source.text)) for _ in range(4)]
        assert await joined(cache, source, waiting) == ["x" * 5000] * 4
        assert source.calls == 1


async def test_what_a_loader_raises_reaches_who_loads_for_themselves(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        source, failing = Source(), False

        async def load() -> Any:
            if failing:
                raise ConnectionError("gone")
            return await source.generator()

        waiting = [asyncio.create_task(cache.get_or_load("page", "k", load)) for _ in range(2)]
        await source.asked.wait()
        failing = True
        source.go.set()
        answers: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
        first, second = answers
        assert list(first) == [0, 1, 2]
        assert isinstance(second, ConnectionError)


async def test_responses_that_stream_reach_all_who_ask(redis_server: RedisServer, prefix: str) -> None:
    app, source = FastAPI(), Source()
    manager = make_manager(redis_server, prefix, page={})

    @app.get("/stream")
    @cached(manager, "stream", cache_type="page")
    async def stream() -> Any:
        await source.wait()

        async def lines() -> AsyncIterator[str]:
            for number in range(3):
                yield f"{number} "

        return StreamingResponse(lines())

    transport = httpx.ASGITransport(app=app)
    async with manager, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        asked = [asyncio.create_task(client.get("/stream")) for _ in range(3)]
        answers = await joined(manager, source, asked)
        assert [answer.text for answer in answers] == ["0 1 2 "] * 3
        assert source.calls == 3


@TIERS
async def test_a_number_that_its_type_s_serializer_can_t_store_is_loaded_once_for_all_who_wait(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    policy = {"tiers": tiers, "serializer": "json"}
    async with make_manager(redis_server, prefix, page=policy) as cache:
        source = Source()
        waiting = [asyncio.create_task(cache.get_or_load("page", "k", source.infinity)) for _ in range(5)]
        assert await joined(cache, source, waiting) == [float("inf")] * 5
        assert source.calls == 1
        assert not await cache.exists("page", "k")
        assert not await cache.set("page", "k", [1.5, float("nan")])
        assert cache.counters.of("page").unstorable == 2
