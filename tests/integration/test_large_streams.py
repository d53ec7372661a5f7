"""Streams that are too large to be stored: passed through all the same, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from stoker.core import GenerationResponse
from stoker.core.responses import streams
from stoker.core.responses.streams import StreamTooLargeError
from tests.servers import RedisServer
from tests.streams import REQUEST, Model, caches, collect
from tests.waiting import eventually


async def test_a_stream_that_is_too_large_is_passed_through_and_not_stored(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model(["x" * 300_000] * 5)
    model.allow(99)
    async with caches(redis_server, prefix, max_entry=1_000_000) as cache:
        one, other = await asyncio.gather(
            collect(cache.get_or_stream(REQUEST, model.stream)),
            collect(cache.get_or_stream(REQUEST, model.stream)),
        )
        assert one == other == model.chunks
        assert await cache.get_cached_response(REQUEST) is None


async def test_a_stream_that_is_too_large_waits_for_its_slowest_reader(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model(["x" * 600_000] * 20)
    model.allow(99)
    async with caches(redis_server, prefix, max_entry=1_000_000) as cache:
        stream = cache.get_or_stream(REQUEST, model.stream)
        for number in range(1, 21):
            assert len(await anext(stream)) == 600_000
            assert model.given <= number + 3, "what nobody has read is not piled up"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_stream_that_is_too_large_ends_when_nobody_reads_it(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model(["x" * 600_000] * 20)
    model.allow(99)
    async with caches(redis_server, prefix, max_entry=1_000_000) as cache:
        stream = cache.get_or_stream(REQUEST, model.stream)
        await anext(stream)
        assert isinstance(stream, AsyncGenerator)
        await stream.aclose()
        await eventually(lambda: model.closed, "the source is closed")
        assert model.given < 6


async def test_who_comes_too_late_for_a_large_stream_shares_the_next_one(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model(["x" * 300_000] * 5)
    async with caches(redis_server, prefix, max_entry=500_000) as cache:
        first: list[str] = []
        one = asyncio.create_task(collect(cache.get_or_stream(REQUEST, model.stream), first))
        model.allow(3)
        await eventually(lambda: len(first) == 3, "it is too large to be joined")
        counters = cache.manager.counters.of("llm_response")
        late = [asyncio.create_task(collect(cache.get_or_stream(REQUEST, model.stream))) for _ in range(8)]
        await eventually(lambda: counters.misses == 9, "they wait")
        model.allow(99)
        assert await one == model.chunks
        for task in late:
            assert await task == model.chunks
        assert model.calls == 2
        assert counters.misses == 9, "each is one read"


async def test_an_answer_is_asked_for_where_another_s_stream_was_too_large(
    redis_server: RedisServer, prefix: str
) -> None:
    model, calls = Model(["x" * 300_000] * 5), 0

    async def generate(_request: object) -> GenerationResponse:
        nonlocal calls
        calls += 1
        return GenerationResponse("mine")

    async with caches(redis_server, prefix, max_entry=500_000) as cache:
        first: list[str] = []
        one = asyncio.create_task(collect(cache.get_or_stream(REQUEST, model.stream), first))
        model.allow(3)
        await eventually(lambda: len(first) == 3, "it is too large to be joined")
        counters = cache.manager.counters.of("llm_response")
        others = [asyncio.create_task(cache.get_or_generate(REQUEST, generate)) for _ in range(4)]
        await eventually(lambda: counters.misses == 5, "they wait")
        model.allow(99)
        assert await one == model.chunks
        assert [(await other).content for other in others] == ["mine"] * 4
        assert calls == 1


async def test_who_asks_at_the_same_time_gets_the_chunks_as_they_come_too(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model(["a", "b"])
    async with caches(redis_server, prefix) as cache:
        one: list[str] = []
        other: list[str] = []
        tasks = [
            asyncio.create_task(collect(cache.get_or_stream(REQUEST, model.stream), into))
            for into in (one, other)
        ]
        model.allow(1)
        await eventually(lambda: one == other == ["a"], "both have the first chunk")
        model.allow(9)
        assert await asyncio.gather(*tasks) == [["a", "b"]] * 2
        assert model.calls == 1


async def test_a_reader_that_stalls_does_not_stop_the_others(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STALLED_SECONDS", 0.02)
    model = Model(["x" * 300_000] * 6)
    async with caches(redis_server, prefix, max_entry=500_000) as cache:
        stalled = cache.get_or_stream(REQUEST, model.stream)
        model.allow(1)
        await anext(stalled)
        found: list[str] = []
        other = asyncio.create_task(collect(cache.get_or_stream(REQUEST, model.stream), found))
        await eventually(lambda: found, "it follows")
        model.allow(99)
        assert await other == model.chunks
        with pytest.raises(StreamTooLargeError, match="took nothing"):
            await collect(stalled)
        assert model.calls == 1
