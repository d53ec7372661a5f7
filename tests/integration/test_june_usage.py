"""What users of June Cache wrote, over Stoker: the same names, the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from stoker.core import CacheConfig, CacheManager, CacheMetrics, CacheType
from tests.configuring import load_cache
from tests.managers import PATIENT
from tests.servers import RedisServer


async def test_usage(redis_server: RedisServer, prefix: str) -> None:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry=registry)
    config = CacheConfig(redis_url=redis_server.url, default_ttl=3600, prefix=prefix, redis=PATIENT)
    cache = CacheManager(config=config, metrics=metrics)

    await cache.connect()
    await cache.set(CacheType.LLM_RESPONSE, "query_hash", {"response": "..."})
    assert await cache.get(CacheType.LLM_RESPONSE, "query_hash") == {"response": "..."}

    async def compute(prompt: str, *, model: str) -> dict[str, str]:
        return {"response": f"{model}: {prompt}"}

    value = await cache.get_or_set(CacheType.LLM_RESPONSE, "other_hash", compute, "hello", model="m")
    assert value == {"response": "m: hello"}
    assert await cache.get_or_set(CacheType.LLM_RESPONSE, "other_hash", compute, "bye", model="n") == value

    await cache.delete(CacheType.LLM_RESPONSE, "query_hash")
    assert await cache.get(CacheType.LLM_RESPONSE, "query_hash") is None
    await cache.invalidate_type(CacheType.LLM_RESPONSE)
    assert await cache.get(CacheType.LLM_RESPONSE, "other_hash") is None

    shown = generate_latest(registry).decode()
    await cache.disconnect()
    assert 'cache_hits_total{cache_type="llm_response"} 2.0' in shown
    assert 'cache_misses_total{cache_type="llm_response"} 3.0' in shown
    assert 'cache_hit_rate{cache_type="llm_response"} 0.4' in shown
    for name in ("cache_operation_duration_seconds", "cache_size_keys"):
        assert f"# TYPE {name} " in shown


@pytest.mark.parametrize("cache_type", list(CacheType))
async def test_every_type_keeps_its_values_apart(
    redis_server: RedisServer, prefix: str, cache_type: CacheType
) -> None:
    config = CacheConfig(redis_url=redis_server.url, prefix=prefix, redis=PATIENT)
    async with CacheManager(config=config) as cache:
        await cache.set(cache_type, "k", cache_type.value)
        found = {other: await cache.get(other, "k") for other in CacheType}
        assert {other: value for other, value in found.items() if value} == {cache_type: cache_type.value}


@pytest.mark.parametrize(
    ("variable", "cache_type", "seconds"),
    [
        ("CACHE_TTL_LLM", CacheType.LLM_RESPONSE, 7200),
        ("CACHE_TTL_STT", CacheType.STT_TRANSCRIPTION, 86400),
        ("CACHE_TTL_TTS", CacheType.TTS_SYNTHESIS, 86400),
        ("CACHE_TTL_SESSION", CacheType.SESSION, 1800),
        ("CACHE_TTL_DB", CacheType.DB_QUERY, 300),
    ],
)
def test_environment_variables(tmp_path: Path, variable: str, cache_type: CacheType, seconds: float) -> None:
    def ttl(environment: dict[str, str]) -> Any:
        return load_cache(tmp_path, "", environment).value.policy(cache_type).ttl

    assert ttl({}) == seconds
    assert ttl({variable: "77"}) == 77
    assert (
        load_cache(tmp_path, "", {"REDIS_URL": "redis://redis:6379/0"}).value.redis.url
        == "redis://redis:6379/0"
    )
