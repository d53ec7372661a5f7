"""What users of the Caching Service wrote, each as it is written here; it runs."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import UTC

import pytest

from stoker.core import (
    CacheConfig,
    ChatMessage,
    GenerationRequest,
    GenerationResponse,
    ResponseCache,
    load_config,
    request_key,
)
from tests.managers import make_config
from tests.servers import RedisServer

logger = logging.getLogger(__name__)

REQUEST = GenerationRequest([ChatMessage("user", "Hello")], 0.7, 1.0, 1000, "gpt-4o")
RESPONSE = GenerationResponse("Hi!", "req_1", "openai", processing_time_ms=1250, cost_usd=0.0025)


class Client:
    """Calls the model, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def generate(self, request: GenerationRequest) -> GenerationResponse:
        self.calls += 1
        return GenerationResponse(f"answer {self.calls}", "req_2", "openai")


async def test_the_quick_start(own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", own_redis_server.url)
    generation_request, generation_response = REQUEST, RESPONSE

    cache = ResponseCache(load_config(CacheConfig).value)
    await cache.connect()
    await cache.cache_response(request=generation_request, response=generation_response, ttl_seconds=3600)
    cached_response = await cache.get_cached_response(generation_request)
    assert cached_response
    assert cached_response.content == "Hi!"

    stats = await cache.get_cache_stats()
    shown = f"{stats['memory_human']} {stats['cached_responses']} {stats['total_keys']}"
    assert len(shown.split()) == 3

    count = await cache.invalidate_cache("*")
    assert count == 1
    count = await cache.cleanup_expired_cache()
    assert count == 0
    await cache.disconnect()


async def test_identical_requests_save_money(redis_server: RedisServer, prefix: str) -> None:
    api_client = Client()
    async with ResponseCache(make_config(redis_server, prefix)) as cache:

        async def answer(request: GenerationRequest) -> GenerationResponse:
            response = await cache.get_cached_response(request)
            if response:
                return response  # a hit: free!
            response = await api_client.generate(request)
            await cache.cache_response(request, response, ttl_seconds=3600)
            return response

        assert await answer(REQUEST) == await answer(REQUEST)
        assert api_client.calls == 1


async def test_requests_that_are_under_way_are_not_made_again(redis_server: RedisServer, prefix: str) -> None:
    """Their way refused whoever came second; here everybody gets the one answer, in any process."""
    api_client, config = Client(), make_config(redis_server, prefix)
    async with ResponseCache(config) as cache, ResponseCache(config) as elsewhere:
        responses = await asyncio.gather(
            *(one.get_or_generate(REQUEST, api_client.generate) for one in (cache, elsewhere) * 5)
        )
        assert len(responses) == 10
        assert {response.content for response in responses} == {"answer 1"}
        assert api_client.calls == 1


async def test_an_entry_holds_the_response_and_its_metadata(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        await cache.cache_response(REQUEST, RESPONSE, ttl_seconds=3600)
        [name] = client.scan_iter(match=f"{prefix}:e:*")
        assert name.decode() == f"{prefix}:e:{{llm_response:{request_key(REQUEST)}}}"
        assert 3400 < client.ttl(name) <= 3600
        value = await cache.manager.get("llm_response", request_key(REQUEST))
        assert value["response"]["content"] == "Hi!"
        metadata = value["metadata"]
        assert (metadata["request_id"], metadata["provider_used"]) == ("req_1", "openai")
        assert (metadata["ttl_seconds"], metadata["cached_at"].tzinfo) == (3600, UTC)
    client.close()


async def test_metrics_for_a_dashboard(redis_server: RedisServer, prefix: str) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        response = RESPONSE
        await cache.cache_request_metrics(
            request_id=response.request_id,
            provider=response.provider_used,
            response_time_ms=response.processing_time_ms,
            cost_usd=response.cost_usd,
        )
        await cache.cache_request_metrics(
            request_id="req_123", provider="openai", response_time_ms=1250, cost_usd=0.0025, ttl_seconds=86400
        )
        metrics = await cache.get_metrics_for_period(hours=24)
        assert f"Total metrics: {len(metrics)}" == "Total metrics: 2"
        assert sum(metric["cost_usd"] for metric in metrics) == metrics.totals.cost_usd == 0.005


def test_the_key_is_made_of_the_normalized_request() -> None:
    cache_data = {
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0.7,
        "top_p": 1.0,
        "max_tokens": 1000,
    }
    same = json.loads(json.dumps(cache_data, sort_keys=True))
    request = GenerationRequest([ChatMessage("user", "Hello")], 0.7, 1.0, 1000)
    assert ResponseCache(CacheConfig()).key(cache_data) == request_key(same) == request_key(request)


async def test_times_to_live_for_what_changes_often_and_what_does_not(
    redis_server: RedisServer, prefix: str
) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        for seconds in (300, 86400):
            await cache.cache_response(REQUEST, RESPONSE, ttl_seconds=seconds)
            left = await cache.manager.ttl("llm_response", cache.key(REQUEST))
            assert left is not None
            assert seconds * 0.9 < left <= seconds


async def test_the_key_of_a_request_and_the_raw_client_are_public(
    redis_server: RedisServer, prefix: str
) -> None:
    """As the older system's de-duplication by hand used them; `get_or_generate` needs neither."""
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        cache_key = cache._generate_cache_key(REQUEST)
        assert cache_key == cache.generate_cache_key(REQUEST) == cache.key(REQUEST)
        name = f"{prefix}:processing:{cache_key}"
        assert await cache.redis.get(name) is None
        await cache.redis.set(name, "1", ex=60)
        assert await cache.client.get(name)
        assert await cache.redis.delete(name) == 1


def test_the_environment_has_the_names_it_had() -> None:
    environment = {
        "REDIS_URL": "redis://cache:6379/3",
        "REDIS_MAX_CONNECTIONS": "70",
        "CACHE_DEFAULT_TTL": "1800",
        "CACHE_METRICS_TTL": "43200",
    }
    usual, config = CacheConfig(), load_config(CacheConfig, environ=environment).value

    assert (usual.redis.url, usual.redis.max_connections) == ("redis://localhost:6379/0", 50)
    assert (usual.default_ttl, usual.request_metrics_ttl) == (3600, 86400)
    assert (config.redis.url, config.redis.max_connections) == ("redis://cache:6379/3", 70)
    assert (config.default_ttl, config.request_metrics_ttl) == (1800, 43200)


@dataclass
class OwnMessage:
    role: str
    content: str


@dataclass
class OwnRequest:
    messages: list[OwnMessage]
    temperature: float
    top_p: float
    max_tokens: int | None


@dataclass
class OwnResponse:
    content: str
    request_id: str
    provider_used: str
    processing_time_ms: int
    cost_usd: float


async def test_models_that_were_copied_go_on_to_be_used(redis_server: RedisServer, prefix: str) -> None:
    request = OwnRequest([OwnMessage("user", "Hello")], 0.7, 1.0, None)
    response = OwnResponse("Hi!", "req_1", "openai", 1250, 0.0025)
    async with ResponseCache(make_config(redis_server, prefix), response_type=OwnResponse) as cache:
        await cache.cache_response(request, response, ttl_seconds=300)
        assert await cache.get_cached_response(request) == response
        same = GenerationRequest([ChatMessage("user", "Hello")], 0.7, 1.0)
        assert await cache.get_cached_response(same) == response
        limited = OwnRequest(request.messages, 0.7, 1.0, 1000)
        assert await cache.get_cached_response(limited) is None


async def test_failures_of_the_cache_need_no_except(own_redis_server: RedisServer) -> None:
    api_client = Client()
    config = CacheConfig(redis={"url": own_redis_server.url, "timeout": 0.5})
    async with ResponseCache(config) as cache:
        own_redis_server.kill()
        cached = await cache.get_cached_response(REQUEST)
        assert cached is None
        response = cached or await api_client.generate(REQUEST)
        assert response.content == "answer 1"


async def test_the_hit_rate_is_watched(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        await cache.get_cached_response(REQUEST)
        stats = await cache.get_cache_stats()
        hit_rate = stats.get("hit_rate", 0.0)
        if hit_rate < 0.5:
            logger.warning("Low cache hit rate - consider increasing TTL")
        assert caplog.messages[-1] == "Low cache hit rate - consider increasing TTL"

        await cache.cache_response(REQUEST, RESPONSE)
        for _ in range(3):
            await cache.get_cached_response(REQUEST)
        assert (await cache.get_cache_stats()).get("hit_rate", 0.0) == 0.75
