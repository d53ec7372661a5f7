"""What users of the Cache Infrastructure Module wrote, each as it is written here; it runs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stoker.core import AIResponseCache, CacheInterface, InMemoryCache
from tests.servers import RedisServer


async def test_memory_alone() -> None:
    cache = InMemoryCache(default_ttl=1800, max_size=500)
    await cache.set("user:123", {"name": "John", "role": "admin"})
    user_data = await cache.get("user:123")
    assert user_data == {"name": "John", "role": "admin"}
    await cache.delete("user:123")

    await cache.set("session:abc", 1)
    exists = await cache.exists("session:abc")
    ttl_remaining = await cache.get_ttl("session:abc")
    assert exists
    assert ttl_remaining is not None
    assert 1700 < ttl_remaining <= 1800
    stats = await cache.get_stats()
    assert f"Cache utilization: {stats['utilization_percent']:.1f}%" == "Cache utilization: 0.2%"


async def test_the_advanced_example(own_redis_server: RedisServer) -> None:
    cache = AIResponseCache(redis_url=own_redis_server.url, compression_threshold=2000, memory_cache_size=200)
    await cache.connect()
    await cache.cache_response(
        text="Long document to analyze...",
        operation="summarize",
        options={"max_length": 100, "model": "gpt-4"},
        response={"summary": "Brief summary", "confidence": 0.95},
    )
    cached = await cache.get_cached_response(
        text="Long document to analyze...",
        operation="summarize",
        options={"max_length": 100, "model": "gpt-4"},
    )
    assert cached == {"summary": "Brief summary", "confidence": 0.95}

    stats = await cache.get_cache_stats()
    assert stats.hits == 1
    hit_ratio = cache.get_cache_hit_ratio()
    assert hit_ratio == 1.0
    summary = cache.get_performance_summary()
    assert summary.hit_ratio == 1.0

    await cache.invalidate_by_operation("summarize", operation_context="model_update")
    assert await cache.get_cached_response("Long document to analyze...", "summarize", {}) is None
    await cache.invalidate_pattern("sentiment", operation_context="batch_invalidation")
    await cache.close()


@dataclass
class Settings:
    USE_REDIS: bool
    REDIS_URL: str = "redis://127.0.0.1:1/0"
    CACHE_TTL: int = 3600


class TextProcessingService:
    def __init__(self, cache: CacheInterface) -> None:
        self.cache = cache

    async def count(self, text: str) -> int:
        known: int | None = await self.cache.get(text)
        if known is None:
            known = len(text.split())
            await self.cache.set(text, known)
        return known


@pytest.mark.parametrize("use_redis", [True, False])
async def test_caches_are_injected(own_redis_server: RedisServer, use_redis: bool) -> None:
    settings = Settings(use_redis, own_redis_server.url)

    def create_cache() -> CacheInterface:
        if settings.USE_REDIS:
            return AIResponseCache(redis_url=settings.REDIS_URL)
        return InMemoryCache(default_ttl=settings.CACHE_TTL)

    cache = create_cache()
    if isinstance(cache, AIResponseCache):
        await cache.connect()
    service = TextProcessingService(cache)
    assert await service.count("three words here") == 3
    assert await service.count("three words here") == 3
    assert await cache.get("three words here") == 3
    if isinstance(cache, AIResponseCache):
        await cache.close()


def test_the_environment_says_which() -> None:
    environment = {"REDIS_URL": "redis://redis:6379", "CACHE_TTL": "600"}
    cache = AIResponseCache(
        redis_url=environment.get("REDIS_URL", "redis://redis:6379"),
        default_ttl=int(environment.get("CACHE_TTL", "3600")),
        compression_threshold=int(environment.get("CACHE_COMPRESSION_THRESHOLD", "1000")),
    )
    assert cache.manager.policy("ai_response").ttl == 600
    assert InMemoryCache(default_ttl=1800, max_size=100).manager.config.memory.entries == 100


def test_the_interface_is_what_a_cache_can_do() -> None:
    for method in ("get", "set", "delete"):
        assert getattr(getattr(CacheInterface, method), "__isabstractmethod__", False)
    assert issubclass(AIResponseCache, CacheInterface)
    assert issubclass(InMemoryCache, CacheInterface)
    with pytest.raises(TypeError, match="abstract"):
        CacheInterface()  # type: ignore[abstract]  # pyright: ignore


def test_memory_alone_is_configured_as_it_was() -> None:
    cache = InMemoryCache(default_ttl=3600, max_size=1000)
    assert cache.manager.config.memory.entries == 1000
    assert cache.manager.policy(cache.cache_type).ttl == 3600


def test_the_cache_of_results_is_configured_as_it_was() -> None:
    cache = AIResponseCache(
        redis_url="redis://localhost:6379",
        default_ttl=3600,
        text_hash_threshold=1000,
        compression_threshold=1000,
        compression_level=6,
        memory_cache_size=100,
        text_size_tiers={"small": 500, "medium": 5000, "large": 50000},
    )
    usual = AIResponseCache()
    assert cache.manager.policy("ai_response") == usual.manager.policy("ai_response")
    assert cache.manager.config.memory == usual.manager.config.memory
    assert usual.operation_ttls == {
        "summarize": 7200,
        "sentiment": 86400,
        "key_points": 7200,
        "questions": 3600,
        "qa": 1800,
    }


async def test_from_memory_to_redis_only_the_line_that_makes_it_changes(
    own_redis_server: RedisServer,
) -> None:
    before = InMemoryCache(default_ttl=3600, max_size=1000)
    after = AIResponseCache(
        redis_url=own_redis_server.url, default_ttl=3600, memory_cache_size=100, compression_threshold=1000
    )
    async with after:
        for cache in (before, after):
            assert await cache.set("user:123", {"name": "John"})
            assert await cache.get("user:123") == {"name": "John"}
            assert await cache.exists("user:123")
            assert (await cache.get_stats()).hits == 1
            assert await cache.delete("user:123") == 1
            assert await cache.get("user:123") is None
