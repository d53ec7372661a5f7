"""Answers that come as streams: passed through as they come, stored when whole, replayed as they came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from stoker.core import (
    CacheManager,
    ChatMessage,
    GenerationRequest,
    GenerationResponse,
    ResponseCache,
    UsageError,
)
from stoker.core.loading.flights import LoadCancelledError
from tests.managers import make_config
from tests.servers import RedisServer
from tests.streams import CHUNKS, REQUEST, Model, caches, collect
from tests.waiting import eventually


async def test_chunks_are_passed_through_as_they_come(redis_server: RedisServer, prefix: str) -> None:
    model = Model()
    async with caches(redis_server, prefix) as cache:
        stream = cache.get_or_stream(REQUEST, model.stream)
        for number, expected in enumerate(CHUNKS, 1):
            model.allow(1)
            assert await anext(stream) == expected
            assert model.given == number, "no chunk is waited for before the one before it is passed on"
        model.allow(1)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert model.closed == 1


async def test_a_stream_that_ended_is_replayed_as_it_came(redis_server: RedisServer, prefix: str) -> None:
    model = Model()
    model.allow(9)
    async with caches(redis_server, prefix) as cache, caches(redis_server, prefix) as other:
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == CHUNKS
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == CHUNKS
        assert await collect(other.get_or_stream(REQUEST, model.stream)) == CHUNKS
        assert model.calls == 1


async def test_a_stream_is_an_answer_too_and_an_answer_a_stream(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model()
    model.allow(9)
    async with caches(redis_server, prefix) as cache:
        await collect(
            cache.get_or_stream(REQUEST, model.stream, provider_used="openai", request_id="r", ttl_seconds=60)
        )
        answer = await cache.get_cached_response(REQUEST)
        assert answer == GenerationResponse("Once upon a time", "r", "openai", "gpt-4o")
        metadata = await cache.get_metadata(REQUEST)
        assert metadata is not None
        assert (metadata.model, metadata.provider_used, metadata.ttl_seconds) == ("gpt-4o", "openai", 60)

        other = GenerationRequest([ChatMessage("user", "other")])
        await cache.cache_response(other, GenerationResponse("whole"))
        assert await collect(cache.get_or_stream(other, model.stream)) == ["whole"]

        async def generate(_: GenerationRequest) -> GenerationResponse:
            raise AssertionError("it is stored")

        assert await cache.get_or_generate(REQUEST, generate) == answer
        assert model.calls == 1


async def test_a_stream_that_broke_off_is_not_stored(redis_server: RedisServer, prefix: str) -> None:
    model = Model()
    model.error_after = 2
    model.allow(9)
    async with caches(redis_server, prefix) as cache:
        got: list[Any] = []
        with pytest.raises(RuntimeError, match="the model broke off"):
            await collect(cache.get_or_stream(REQUEST, model.stream), got)
        assert got == CHUNKS[:2]
        assert await cache.get_cached_response(REQUEST) is None

        model.error_after = None
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == CHUNKS
        assert model.calls == 2


@pytest.mark.parametrize("position", [0, 1])
async def test_a_stream_that_fails_at_once_raises_what_it_raised(
    redis_server: RedisServer, prefix: str, position: int
) -> None:
    async def fails(_: Any) -> AsyncGenerator[str]:
        if position:
            yield "a"
        raise RuntimeError("no such model")

    async with caches(redis_server, prefix) as cache:
        got: list[Any] = []
        with pytest.raises(RuntimeError, match="no such model"):
            await collect(cache.get_or_stream(REQUEST, fails), got)
        assert len(got) == position
        assert await cache.get_cached_response(REQUEST) is None


async def test_who_asks_meanwhile_gets_the_chunks_as_they_come(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model()
    async with caches(redis_server, prefix) as cache:
        first: list[Any] = []
        later: list[Any] = []
        one = asyncio.create_task(collect(cache.get_or_stream(REQUEST, model.stream), first))
        model.allow(2)
        await eventually(lambda: len(first) == 2, "two chunks have come")
        other = asyncio.create_task(collect(cache.get_or_stream(REQUEST, model.stream), later))
        await eventually(lambda: later == CHUNKS[:2], "who came later has what had come")
        model.allow(1)
        await eventually(lambda: first == later == CHUNKS[:3], "both get what comes")
        model.allow(9)

        assert await one == await other == CHUNKS
        assert model.calls == 1


async def test_who_asks_in_another_process_waits_for_the_whole(
    redis_server: RedisServer, prefix: str
) -> None:
    model, second = Model(), Model(["never"])
    async with caches(redis_server, prefix) as one, caches(redis_server, prefix) as other:
        first: list[Any] = []
        task = asyncio.create_task(collect(one.get_or_stream(REQUEST, model.stream), first))
        model.allow(2)
        await eventually(lambda: len(first) == 2, "two chunks have come")
        waiting = asyncio.create_task(collect(other.get_or_stream(REQUEST, second.stream)))
        await eventually(lambda: other.manager.counters.of("llm_response").leases_waited, "it waits")
        model.allow(9)

        assert await task == await waiting == CHUNKS
        assert second.calls == 0


async def test_a_stream_from_before_an_invalidation_is_not_joined_after_it(
    redis_server: RedisServer, prefix: str
) -> None:
    """By key, by type and by the model's tag; each time another process invalidates."""
    async with caches(redis_server, prefix) as cache, caches(redis_server, prefix) as stranger:
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: stranger.delete(REQUEST),
            lambda: stranger.manager.invalidate_type("llm_response"),
            lambda: stranger.invalidate_model("gpt-4o"),
        ]
        for number, invalidate in enumerate(ways):
            old, new = Model(["old ", "text"]), Model(["new ", "text"])
            got: list[Any] = []
            one = asyncio.create_task(collect(cache.get_or_stream(REQUEST, old.stream), got))
            old.allow(1)
            await eventually(partial(got.__eq__, ["old "]), "the old stream has begun")
            await invalidate()
            new.allow(9)
            other = asyncio.create_task(collect(cache.get_or_stream(REQUEST, new.stream)))
            if number < 2:
                assert await other == ["new ", "text"], "it does not wait for the old stream"
            old.allow(9)
            assert await other == ["new ", "text"]
            assert await one == ["old ", "text"], "who asked before may have what was there before"
            answer = await cache.get_cached_response(REQUEST)
            assert answer is not None
            assert answer.content == "new text"
            await cache.delete(REQUEST)


async def test_a_stream_from_before_the_server_lost_its_history_is_not_joined(
    own_redis_server: RedisServer,
) -> None:
    """What was invalidated since it began nobody knows any more."""
    old, new = Model(["old"]), Model(["new"])
    client = own_redis_server.client()
    async with caches(own_redis_server, "lost") as cache:
        got: list[Any] = []
        one = asyncio.create_task(collect(cache.get_or_stream(REQUEST, old.stream), got))
        old.allow(1)
        await eventually(lambda: got, "the old stream has begun")
        client.flushall()
        new.allow(9)
        assert await collect(cache.get_or_stream(REQUEST, new.stream)) == ["new"]
        old.allow(9)
        assert await one == ["old"]
        assert await collect(cache.get_or_stream(REQUEST, Model().stream)) == ["new"]
    client.close()


async def test_a_reader_that_leaves_does_not_break_the_stream_off(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model()
    async with caches(redis_server, prefix) as cache:
        stream = cache.get_or_stream(REQUEST, model.stream)
        model.allow(1)
        assert await anext(stream) == CHUNKS[0]
        assert isinstance(stream, AsyncGenerator)
        await stream.aclose()
        model.allow(9)

        async def is_stored() -> bool:
            return await cache.get_metadata(REQUEST) is not None

        await eventually(is_stored, "it is stored all the same")
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == CHUNKS
        assert (model.calls, model.closed) == (1, 1)


async def test_a_stream_that_nobody_reads_is_not_begun(redis_server: RedisServer, prefix: str) -> None:
    model = Model()
    async with caches(redis_server, prefix) as cache:
        cache.get_or_stream(REQUEST, model.stream)
        assert model.calls == 0


async def test_a_stream_that_takes_too_long_is_cut_off(redis_server: RedisServer, prefix: str) -> None:
    model = Model()
    async with caches(redis_server, prefix, load_timeout=0.2) as cache:
        model.allow(1)
        got: list[Any] = []
        with pytest.raises((LoadCancelledError, TimeoutError)) as caught:
            await collect(cache.get_or_stream(REQUEST, model.stream), got)
        if got:  # on a busy machine the time may be over before the first chunk
            assert "load_timeout" in str(caught.value)
            assert got == CHUNKS[:1]
        with pytest.raises(TimeoutError):
            await collect(cache.get_or_stream(REQUEST, Model().stream))
        assert await cache.get_cached_response(REQUEST) is None


async def test_a_stream_without_chunks_is_an_empty_answer(redis_server: RedisServer, prefix: str) -> None:
    model = Model([])
    model.allow(9)
    async with caches(redis_server, prefix) as cache:
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == []
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == []
        assert model.calls == 1
        answer = await cache.get_cached_response(REQUEST)
        assert answer is not None
        assert answer.content == ""


@dataclass
class Delta:
    text: str
    logprob: float = 0.0


@dataclass
class Completion:
    text: str
    chunks: int


async def test_chunks_and_answers_may_be_of_the_caller_s_own_kind(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model([Delta("a", -0.5), Delta("b")])
    model.allow(9)
    cache = ResponseCache(
        make_config(redis_server, prefix),
        response_type=Completion,
        chunk_type=Delta,
        assemble=lambda deltas, _: Completion("".join(delta.text for delta in deltas), len(deltas)),
        split=lambda completion: [Delta(letter) for letter in completion.text],
    )
    async with cache:
        for _ in range(2):
            assert await collect(cache.get_or_stream(REQUEST, model.stream)) == model.chunks
        assert await cache.get_cached_response(REQUEST) == Completion("ab", 2)
        await cache.cache_response({"prompt": "x"}, Completion("xy", 1))
        assert await collect(cache.get_or_stream({"prompt": "x"}, model.stream)) == [Delta("x"), Delta("y")]
        assert model.calls == 1


async def test_chunks_that_could_not_be_read_are_not_stored(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = Model([{"delta": "Once"}, {"delta": " upon"}])  # and the cache is of texts
    model.allow(9)
    async with caches(redis_server, prefix) as cache:
        for calls in (1, 2):
            assert await collect(cache.get_or_stream(REQUEST, model.stream)) == model.chunks
            assert model.calls == calls
            assert await cache.get_cached_response(REQUEST) is None
        counters = cache.manager.counters.of("llm_response")
        assert (counters.unstorable, counters.sets, counters.undecodable) == (2, 0, 0)
        [told] = [line for line in caplog.messages if line.startswith("action=stream_unstorable ")]
        assert "chunk_type=" in told
        assert "Once" not in told


async def test_a_client_that_is_awaited_for_its_stream_may_be_given(
    redis_server: RedisServer, prefix: str
) -> None:
    model = Model()
    model.allow(9)

    async def create(request: Any) -> AsyncIterator[str]:
        return model.stream(request)

    async with caches(redis_server, prefix) as cache:
        assert await collect(cache.get_or_stream(REQUEST, create)) == CHUNKS


async def test_what_is_no_stream_is_refused(redis_server: RedisServer, prefix: str) -> None:
    async with caches(redis_server, prefix) as cache:
        with pytest.raises(UsageError, match="not a list"):
            await collect(cache.get_or_stream(REQUEST, lambda _: ["a"]))  # type: ignore[arg-type,return-value]  # pyright: ignore


async def test_an_answer_that_cannot_be_assembled_says_how(redis_server: RedisServer, prefix: str) -> None:
    model = Model([{"delta": "a"}])
    model.allow(9)
    config = make_config(redis_server, prefix)
    async with ResponseCache(config, chunk_type=Any) as cache:
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == [{"delta": "a"}]
        with pytest.raises(UsageError, match="assemble="):
            await cache.get_cached_response(REQUEST)
    async with ResponseCache(config, response_type=Completion, chunk_type=Any) as other:
        with pytest.raises(UsageError, match="assemble="):
            await other.get_cached_response(REQUEST)


async def test_while_the_server_is_away_streams_are_passed_through(own_redis_server: RedisServer) -> None:
    model = Model()
    model.allow(99)
    config = make_config(own_redis_server, "away")
    async with ResponseCache(config) as cache:
        own_redis_server.kill()
        await eventually(lambda: not cache.manager.link.ready, "the link is down")
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == CHUNKS
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == CHUNKS
        assert model.calls == 2


async def test_closing_the_cache_cuts_streams_off(redis_server: RedisServer, prefix: str) -> None:
    model = Model()
    manager = CacheManager(make_config(redis_server, prefix), recording=False)
    await manager.connect()
    cache = ResponseCache(manager)
    got: list[Any] = []
    task = asyncio.create_task(collect(cache.get_or_stream(REQUEST, model.stream), got))
    model.allow(1)
    await eventually(lambda: got, "it has begun")
    await manager.close(0)
    with pytest.raises(LoadCancelledError, match="was closed"):
        await task
    assert model.closed == 1
