"""Streams that are too large to be stored: passed through all the same, in bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

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
