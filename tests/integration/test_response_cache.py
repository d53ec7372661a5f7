"""Answers of models: stored with their metadata, generated once for all who ask, invalidated by model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from stoker.core import (
    CacheConfig,
    CacheManager,
    ChatMessage,
    GenerationRequest,
    GenerationResponse,
    ResponseCache,
    UsageError,
    request_key,
)
from tests.managers import make_config, make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

REQUEST = GenerationRequest([ChatMessage("user", "Hello")], 0.7, 1.0, 1000, "gpt-4o")
RESPONSE = GenerationResponse("Hi!", "req_1", "openai", processing_time_ms=1250, cost_usd=0.0025)


def asking(text: str, **fields: Any) -> GenerationRequest:
    return GenerationRequest([ChatMessage("user", text)], **fields)


async def silence(_: Any) -> AsyncIterator[str]:
    """A model that has nothing to say."""
    nothing: tuple[str, ...] = ()
    for chunk in nothing:
        yield chunk


class Model:
    """A model that counts its calls, and answers when told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, request: GenerationRequest) -> GenerationResponse:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return GenerationResponse(f"answer {self.calls}", f"req_{self.calls}", "openai")


async def test_an_answer_is_stored_and_comes_back_as_it_was(redis_server: RedisServer, prefix: str) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        assert await cache.get_cached_response(REQUEST) is None
        assert await cache.cache_response(REQUEST, RESPONSE, ttl_seconds=600)
        assert await cache.get_cached_response(REQUEST) == RESPONSE
        assert await cache.get_cached_response(asking("Hello")) is None, "another request"

        left = await cache.manager.ttl("llm_response", cache.key(REQUEST))
        assert left is not None
        assert 500 < left <= 600


async def test_an_answer_outlives_the_process(redis_server: RedisServer, prefix: str) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as one:
        await one.cache_response(REQUEST, RESPONSE)
    async with ResponseCache(make_config(redis_server, prefix)) as other:
        assert await other.get_cached_response(REQUEST) == RESPONSE


async def test_metadata_stands_in_the_same_entry(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        assert await cache.get_metadata(REQUEST) is None
        began = datetime.now(UTC)
        await cache.cache_response(REQUEST, RESPONSE, 600)

        metadata = await cache.get_metadata(REQUEST)
        assert metadata is not None
        assert (metadata.request_id, metadata.provider_used, metadata.model) == ("req_1", "openai", "gpt-4o")
        assert metadata["ttl_seconds"] == 600
        assert began <= metadata.cached_at <= datetime.now(UTC)
        [entry] = client.scan_iter(match=f"{prefix}:e:*")

        client.unlink(entry)
        assert await cache.get_metadata(REQUEST) is None
        assert await cache.get_cached_response(REQUEST) is None
        stats = await cache.get_cache_stats()
        assert (stats.hits, stats.misses) == (0, 1), "looking at metadata is no read"
    client.close()


@dataclass
class OwnResponse:
    content: str
    request_id: str
    provider_used: str


class ModelResponse(BaseModel):
    content: str
    provider_used: str = "anthropic"
    at: datetime


@pytest.mark.parametrize(
    "response",
    [
        OwnResponse("Hi!", "req_1", "openai"),
        ModelResponse(content="Hi!", at=datetime(2026, 1, 9, 12, tzinfo=UTC)),
        {"content": "Hi!", "provider_used": "openai", "choices": [1, 2]},
    ],
)
async def test_answers_may_be_of_the_caller_s_own_kind(
    redis_server: RedisServer, prefix: str, response: Any
) -> None:
    config = make_config(redis_server, prefix)
    async with ResponseCache(config, response_type=type(response)) as cache:
        await cache.cache_response(REQUEST, response)
    async with ResponseCache(config, response_type=type(response)) as cache:
        assert await cache.get_cached_response(REQUEST) == response
        metadata = await cache.get_metadata(REQUEST)
        assert metadata is not None
        assert metadata.provider_used in {"openai", "anthropic"}


async def test_an_answer_of_another_kind_is_refused(redis_server: RedisServer, prefix: str) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        for wrong in ("Hi!", {"content": "Hi!"}, None):
            with pytest.raises(UsageError, match="response_type="):
                await cache.cache_response(REQUEST, wrong)  # type: ignore[arg-type]  # pyright: ignore

        async def generate(_: GenerationRequest) -> Any:
            return "Hi!"

        with pytest.raises(UsageError, match="response_type="):
            await cache.get_or_generate(REQUEST, generate)
        assert await cache.get_cached_response(REQUEST) is None


async def test_a_stored_answer_of_another_shape_is_a_miss(redis_server: RedisServer, prefix: str) -> None:
    config = make_config(redis_server, prefix)
    async with ResponseCache(config, response_type=dict[str, Any]) as cache:
        await cache.cache_response(REQUEST, {"text": 5})
    async with ResponseCache(config, response_type=OwnResponse) as other:
        assert await other.get_cached_response(REQUEST) is None


async def test_the_model_is_called_once_for_all_who_ask(redis_server: RedisServer, prefix: str) -> None:
    """Across processes, too: each manager has a connection and loads of its own."""
    model, config = Model(), make_config(redis_server, prefix)
    async with ResponseCache(config) as one, ResponseCache(config) as other:
        asked = [
            asyncio.create_task(cache.get_or_generate(REQUEST, model))
            for cache in (one, other)
            for _ in range(10)
        ]
        await eventually(lambda: model.calls, "the model is called")
        await eventually(
            lambda: sum(c.manager.counters.of("llm_response").leases_waited for c in (one, other)) == 1,
            "the other process waits",
        )
        model.gate.set()

        answers = await asyncio.gather(*asked)
        assert model.calls == 1
        assert {answer.content for answer in answers} == {"answer 1"}
        assert await other.get_or_generate(REQUEST, model) == answers[0]
        assert await one.get_cached_response(REQUEST) == answers[0]
        metadata = await one.get_metadata(REQUEST)
        assert metadata is not None
        assert (metadata.request_id, metadata.model) == ("req_1", "gpt-4o")


async def test_a_call_that_fails_is_not_stored(redis_server: RedisServer, prefix: str) -> None:
    model = Model()
    model.gate.set()
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        model.error = RuntimeError("overloaded")
        with pytest.raises(RuntimeError, match="overloaded"):
            await cache.get_or_generate(REQUEST, model)
        assert await cache.get_cached_response(REQUEST) is None

        model.error = None
        assert (await cache.get_or_generate(REQUEST, model)).content == "answer 2"


async def test_the_time_to_live_is_the_call_s_or_the_type_s(redis_server: RedisServer, prefix: str) -> None:
    model = Model()
    model.gate.set()
    async with ResponseCache(make_config(redis_server, prefix, llm_response={"ttl": 1000})) as cache:
        await cache.get_or_generate(REQUEST, model, ttl_seconds=50)
        await cache.get_or_generate(asking("other"), model)
        await cache.cache_response(asking("third"), RESPONSE)

        for request, seconds in ((REQUEST, 50), (asking("other"), 1000), (asking("third"), 1000)):
            left = await cache.manager.ttl("llm_response", cache.key(request))
            metadata = await cache.get_metadata(request)
            assert left is not None
            assert seconds - 20 < left <= seconds
            assert metadata is not None
            assert metadata.ttl_seconds == seconds
        for wrong in (0, -1, "60"):
            with pytest.raises(UsageError, match="a TTL"):
                await cache.cache_response(REQUEST, RESPONSE, wrong)  # type: ignore[arg-type]  # pyright: ignore


async def test_an_answer_that_was_invalidated_while_it_was_computed_is_not_served(
    redis_server: RedisServer, prefix: str
) -> None:
    """`get_cached_response`, a miss, a call, `cache_response`: a load by hand."""
    config = make_config(redis_server, prefix)
    async with ResponseCache(config) as cache, CacheManager(config, recording=False) as another:
        assert await cache.get_cached_response(REQUEST) is None
        await another.invalidate_type("llm_response")
        await cache.cache_response(REQUEST, RESPONSE)
        assert await cache.get_cached_response(REQUEST) is None


async def test_namespaces_and_types_are_apart(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, answer={"ttl": 60}) as manager:
        caches = [
            ResponseCache(manager),
            ResponseCache(manager, namespace="eu"),
            ResponseCache(manager, cache_type="answer"),
        ]
        for number, cache in enumerate(caches):
            await cache.cache_response(REQUEST, GenerationResponse(str(number)))
        for number, cache in enumerate(caches):
            found = await cache.get_cached_response(REQUEST)
            assert found == GenerationResponse(str(number))

        assert await caches[1].invalidate_cache() == 1
        assert await caches[1].get_cached_response(REQUEST) is None
        assert await caches[0].get_cached_response(REQUEST) is not None
        assert await caches[2].get_cached_response(REQUEST) is not None


@pytest.mark.parametrize(
    ("ignore", "told"),
    [
        ("user", r"write \['user'\]"),
        (7, "names in ignore are several texts, not int"),
        ([b"user"], "a name in ignore is a str, not bytes"),
    ],
)
def test_ignored_fields_are_several(ignore: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ResponseCache(ignore=ignore)


async def test_messages_may_be_ignored_where_something_else_is_asked(
    redis_server: RedisServer, prefix: str
) -> None:
    async with ResponseCache(make_config(redis_server, prefix), ignore=["messages"]) as cache:
        await cache.cache_response({"prompt": "a", "messages": [1]}, RESPONSE)
        assert await cache.get_cached_response({"prompt": "a"}) == RESPONSE
        with pytest.raises(UsageError, match="says nothing"):
            cache.key({"messages": [1]})


class ByPrompt(ResponseCache[GenerationResponse]):
    """A cache of requests of the caller's own kind, under keys of its own."""

    def key(self, request: Any) -> str:
        return f"p:{request.prompt}"


async def test_a_subclass_may_have_keys_of_its_own(redis_server: RedisServer, prefix: str) -> None:
    async with ByPrompt(make_config(redis_server, prefix)) as cache:
        request = SimpleNamespace(prompt="a", model="m")
        await cache.cache_response(request, RESPONSE)
        assert await cache.get_cached_response(request) == RESPONSE
        assert await cache.manager.get("llm_response", "p:a") is not None


async def test_fields_may_be_ignored(redis_server: RedisServer, prefix: str) -> None:
    async with ResponseCache(make_config(redis_server, prefix), ignore=["user", "stream"]) as cache:
        await cache.cache_response({"prompt": "a", "user": "ann"}, RESPONSE)
        assert await cache.get_cached_response({"prompt": "a", "user": "bob", "stream": True}) == RESPONSE
        assert await cache.get_cached_response({"prompt": "b", "user": "ann"}) is None
        assert cache.key({"prompt": "a", "user": "x"}) == request_key({"prompt": "a"})


async def test_requests_that_cannot_be_keyed_are_refused_at_the_call(
    redis_server: RedisServer, prefix: str
) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        calls: list[Callable[[], Any]] = [
            lambda: cache.get_cached_response("Hello"),
            lambda: cache.cache_response("Hello", RESPONSE),
            lambda: cache.get_or_stream("Hello", silence),
        ]
        for call in calls:
            with pytest.raises(UsageError, match="a str is no request"):
                call()


async def test_statistics_name_what_the_older_systems_named(redis_server: RedisServer, prefix: str) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        await cache.cache_response(REQUEST, RESPONSE)
        for number in range(110):
            await cache.get_cached_response(asking(str(number)))
        await cache.get_cached_response(REQUEST)

        stats = await cache.get_cache_stats()

        assert stats["cached_responses"] == 1
        assert stats["total_keys"] >= 2, "the entry and the log"
        assert stats["memory_human"].endswith("M")
        assert stats.get("hit_rate", 0.0) == 1 / 111
        [warning] = stats.warnings
        assert "types.llm_response.ttl" in warning


async def test_trouble_with_the_server_never_raises(own_redis_server: RedisServer) -> None:
    model = Model()
    model.gate.set()
    config = CacheConfig.model_validate({"redis": {"url": own_redis_server.url, "timeout": 0.5}})
    async with ResponseCache(config) as cache:
        await cache.cache_response(REQUEST, RESPONSE)
        own_redis_server.kill()

        assert await cache.get_cached_response(REQUEST) is None
        assert await cache.get_metadata(REQUEST) is None
        assert await cache.cache_response(REQUEST, RESPONSE) is False
        assert (await cache.get_or_generate(REQUEST, model)).content == "answer 1"
        assert await cache.delete(REQUEST) == 0
        assert await cache.invalidate_cache() == 0
        assert await cache.cleanup_expired_cache() == 0
        assert not (await cache.invalidate_model("gpt-4o")).acknowledged
        assert "error" in await cache.get_cache_stats()


async def test_without_a_server_answers_are_in_memory() -> None:
    model = Model()
    model.gate.set()
    async with ResponseCache(CacheConfig.model_validate({"redis": {"enabled": False}})) as cache:
        assert (await cache.get_or_generate(REQUEST, model)).content == "answer 1"
        assert (await cache.get_or_generate(REQUEST, model)).content == "answer 1"
        assert (await cache.get_cache_stats())["cached_responses"] == 1
        assert await cache.invalidate_cache() == 1


async def test_a_manager_that_was_given_stays_open(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as manager:
        cache = ResponseCache(manager)
        assert await cache.connect()
        await cache.cache_response(REQUEST, RESPONSE)
        await cache.close()
        assert await manager.exists("llm_response", cache.key(REQUEST))


async def test_connect_and_disconnect_and_their_other_names(redis_server: RedisServer, prefix: str) -> None:
    cache = ResponseCache(make_config(redis_server, prefix))
    assert await cache.connect()
    await cache.disconnect()
    assert not cache.manager.link.ready
    assert await cache.initialize()
    await cache.close()


def test_a_type_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no cache type is called 'answers'"):
        ResponseCache(CacheConfig(), cache_type="answers")


class Opaque:
    """A class that nobody can make of stored bytes."""


def test_a_response_type_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(UsageError, match="Opaque"):
        ResponseCache(CacheConfig(), response_type=Opaque)
