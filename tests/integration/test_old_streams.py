"""What a reader of a stream is answered with when the stored answer is old, and the model slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stoker.core import CacheConfig, GenerationResponse, ResponseCache
from stoker.core.entries.lookup import State
from tests.managers import make_config
from tests.servers import RedisServer
from tests.sources import until_state
from tests.streams import CHUNKS, REQUEST, Model, collect
from tests.waiting import eventually

#: A TTL that has passed before anybody looks again, almost.
BRIEF = 0.05

TIERS = [("redis",), ("memory", "redis"), ("memory",)]


@asynccontextmanager
async def answered_once(
    server: RedisServer, prefix: str, **policy: Any
) -> AsyncGenerator[tuple[ResponseCache[GenerationResponse], Model]]:
    """A cache with an answer, and a model that gives nothing of the next one before it is let to."""
    config = make_config(server, prefix, llm_response=policy)
    if policy.get("tiers") == ("memory",):
        types = {"llm_response": {"jitter": 0.0, **policy}}
        config = CacheConfig.model_validate({"redis": {"enabled": False}, "types": types})
    model = Model(["old"])
    async with ResponseCache(config) as cache:
        model.allow(2)
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == ["old"]
        model.chunks = CHUNKS
        yield cache, model
        model.allow(9)


async def until_past_its_ttl(cache: ResponseCache[Any]) -> None:
    await until_state(cache.manager, "llm_response", cache.key(REQUEST), State.STALE)


def counted(cache: ResponseCache[Any], *names: str) -> list[int]:
    counters = cache.manager.counters.of("llm_response")
    return [int(getattr(counters, name)) for name in names]


@pytest.mark.parametrize("tiers", TIERS, ids="+".join)
@pytest.mark.parametrize(
    "policy",
    [{"ttl": BRIEF, "stale": 60}, {"ttl": 3600, "early": 0.999_999}],
    ids=["within the stale window", "fresh, with little time left"],
)
async def test_no_reader_of_a_stream_waits_for_what_is_asked_for_behind(
    redis_server: RedisServer, prefix: str, policy: dict[str, Any], tiers: tuple[str, ...]
) -> None:
    async with answered_once(redis_server, prefix, tiers=tiers, **policy) as (cache, model):

        async def asked_again() -> bool:
            assert await collect(cache.get_or_stream(REQUEST, model.stream)) == ["old"]
            return model.calls == 2

        await eventually(asked_again, "the next answer is asked for, behind")
        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == ["old"]
        assert (model.calls, counted(cache, "misses")) == (2, [1])
        model.allow(9)
        await eventually(lambda: counted(cache, "sets") == [2], "it was stored")


async def test_a_model_that_takes_too_long_to_begin_is_not_waited_for(
    redis_server: RedisServer, prefix: str
) -> None:
    policy = {"ttl": BRIEF, "fail_safe": 60, "soft_timeout": 0.05}
    async with answered_once(redis_server, prefix, **policy) as (cache, model):
        await until_past_its_ttl(cache)
        readers = [collect(cache.get_or_stream(REQUEST, model.stream)) for _ in range(3)]

        assert await asyncio.gather(*readers) == [["old"]] * 3
        assert model.calls == 2
        assert counted(cache, "soft_timeouts", "fail_safe_serves", "misses") == [3, 3, 1]


async def test_a_stream_that_has_begun_in_time_may_take_its_time(
    redis_server: RedisServer, prefix: str
) -> None:
    policy = {"ttl": BRIEF, "fail_safe": 60, "soft_timeout": 2.0}
    async with answered_once(redis_server, prefix, **policy) as (cache, model):
        await until_past_its_ttl(cache)
        one, two = (cache.get_or_stream(REQUEST, model.stream) for _ in range(2))
        model.allow(1)
        assert [await anext(one), await anext(two)] == CHUNKS[:1] * 2
        flights = cache.manager.flights
        await eventually(
            lambda: flights.age("llm_response", cache.key(REQUEST)) > 2.5, "the soft timeout has passed"
        )

        model.allow(9)

        assert [*await asyncio.gather(collect(one), collect(two))] == [CHUNKS[1:]] * 2
        assert model.calls == 2
        assert counted(cache, "soft_timeouts", "stale_hits", "misses") == [0, 0, 3]


async def test_a_stream_that_breaks_off_after_its_beginning_is_no_hit(
    redis_server: RedisServer, prefix: str
) -> None:
    async with answered_once(redis_server, prefix, ttl=BRIEF, fail_safe=60) as (cache, model):
        await until_past_its_ttl(cache)
        model.error_after = 1
        model.allow(1)
        stream = cache.get_or_stream(REQUEST, model.stream)
        assert await anext(stream) == CHUNKS[0]
        model.allow(9)

        with pytest.raises(RuntimeError, match="broke off"):
            await anext(stream)

        await eventually(lambda: counted(cache, "misses") == [2], "it is counted")
        assert counted(cache, "fail_safe_serves", "hits") == [0, 0]


async def test_a_model_that_fails_at_once_leaves_the_old_answer(
    redis_server: RedisServer, prefix: str
) -> None:
    async with answered_once(redis_server, prefix, ttl=BRIEF, fail_safe=60) as (cache, model):
        await until_past_its_ttl(cache)
        model.error_after = 0
        model.allow(9)

        assert await collect(cache.get_or_stream(REQUEST, model.stream)) == ["old"]
        assert counted(cache, "fail_safe_serves", "hits") == [1, 1]
