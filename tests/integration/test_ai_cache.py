"""What operations make of texts: by text, operation and options; with figures, and without a server too."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from stoker.core import (
    AIResponseCache,
    CacheConfig,
    CacheInterface,
    CacheManager,
    CachePerformanceMonitor,
    UsageError,
    export_prometheus,
)
from stoker.core.entries.entry import unpack_entry
from tests.managers import PATIENT, make_config
from tests.servers import RedisServer
from tests.waiting import eventually

TEXT = "Long document to analyze..."
OPTIONS = {"max_length": 100, "model": "gpt-4"}
SUMMARY = {"summary": "Brief summary", "confidence": 0.95}


def make(server: RedisServer, prefix: str, **arguments: Any) -> AIResponseCache:
    """A cache that is patient with a loaded machine; it says by config what it has no argument for."""
    usual = {"compression_threshold": 1000, "compression_level": 6, "memory_cache_size": 100}
    own = {name: arguments.pop(name, value) for name, value in usual.items()}
    config = CacheConfig(prefix=prefix, redis={"url": server.url, **PATIENT}, **own)
    return AIResponseCache(config=config, **arguments)


async def test_a_result_comes_back_for_the_same_text_operation_and_options(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make(redis_server, prefix) as cache, make(redis_server, prefix) as other:
        assert await cache.get_cached_response(TEXT, "summarize", OPTIONS) is None
        assert await cache.cache_response(TEXT, "summarize", OPTIONS, SUMMARY)
        for one in (cache, other):
            assert await one.get_cached_response(TEXT, "summarize", OPTIONS) == SUMMARY
            assert (
                await one.get_cached_response(TEXT, "summarize", dict(reversed(OPTIONS.items()))) == SUMMARY
            )
            assert await one.get_cached_response(TEXT + " ", "summarize", OPTIONS) is None
            assert await one.get_cached_response(TEXT, "sentiment", OPTIONS) is None
            assert await one.get_cached_response(TEXT, "summarize", {}) is None
            assert await one.get_cached_response(TEXT, "summarize", OPTIONS, "why?") is None


async def test_a_question_is_part_of_the_key(redis_server: RedisServer, prefix: str) -> None:
    async with make(redis_server, prefix) as cache:
        for question in ("who?", "why?", "", None):
            await cache.cache_response(TEXT, "qa", {}, f"answer to {question}", question)
        for question in ("who?", "why?", "", None):
            assert await cache.get_cached_response(TEXT, "qa", {}, question) == f"answer to {question}"


async def test_short_texts_are_readable_in_redis_and_long_ones_are_not(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    async with make(redis_server, prefix, text_hash_threshold=50) as cache:
        await cache.cache_response("short text", "summarize", {}, 1)
        await cache.cache_response("a longer text " * 10, "summarize", {}, 2)
        names = [name.decode() for name in client.scan_iter(match=f"{prefix}:e:*")]

        assert sum("short text" in name for name in names) == 1
        assert not any("longer" in name for name in names)
    client.close()


@pytest.mark.parametrize(
    ("operation", "seconds"),
    [
        ("summarize", 7200),
        ("sentiment", 86400),
        ("key_points", 7200),
        ("questions", 3600),
        ("qa", 1800),
        ("other", 3600),
    ],
)
async def test_each_operation_has_its_time_to_live(
    redis_server: RedisServer, prefix: str, operation: str, seconds: int
) -> None:
    async with make(redis_server, prefix) as cache:
        await cache.cache_response(TEXT, operation, {}, SUMMARY)
        left = await cache.get_ttl(cache.text_key(TEXT, operation, {}))
        assert left is not None
        assert seconds - 30 < left <= seconds


async def test_times_to_live_can_be_given(redis_server: RedisServer, prefix: str) -> None:
    async with make(redis_server, prefix, operation_ttls={"qa": 60, "translate": 90}) as cache:
        for operation, seconds in (("qa", 60), ("translate", 90), ("summarize", 7200)):
            await cache.cache_response(TEXT, operation, {}, SUMMARY)
            left = await cache.ttl(cache.text_key(TEXT, operation))
            assert left is not None
            assert seconds - 30 < left <= seconds


def test_defaults_are_those_of_the_older_system() -> None:
    cache = AIResponseCache()
    policy = cache.manager.policy("ai_response")

    assert policy.ttl == 3600
    assert (policy.compress_above, policy.compression_level, policy.jitter) == (1000, 6, 0)
    assert policy.tiers == ("memory", "redis")
    assert cache.manager.config.memory.entries == 100
    assert cache.text_hash_threshold == 1000
    assert [cache.text_tier("x" * size) for size in (500, 501, 5000, 50_000, 50_001)] == [
        "small", "medium", "medium", "large", "xlarge",
    ]  # fmt: skip
    assert isinstance(cache, CacheInterface)


def test_arguments_have_the_older_names() -> None:
    cache = AIResponseCache(
        redis_url="redis://production:6379",
        default_ttl=600,
        text_hash_threshold=2000,
        compression_threshold=2000,
        compression_level=9,
        memory_cache_size=200,
        text_size_tiers={"tiny": 10, "huge": 100},
    )
    policy = cache.manager.policy("ai_response")

    assert cache.manager.config.redis.url == "redis://production:6379"
    assert (policy.ttl, policy.compress_above, policy.compression_level) == (600, 2000, 9)
    assert cache.manager.config.memory.entries == 200
    assert [cache.text_tier("x" * size) for size in (1, 11, 101)] == ["tiny", "huge", "xlarge"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"compression_level": 30}, "compression_level"),
        ({"default_ttl": 0}, "default_ttl"),
        ({"memory_cache_size": 0}, "memory"),
        ({"text_hash_threshold": -1}, "text_hash_threshold"),
        ({"text_hash_threshold": "1000"}, "text_hash_threshold is a number from 0, not '1000'"),
        ({"text_hash_threshold": None}, "text_hash_threshold"),
        ({"text_size_tiers": {"small": 0}}, "text_size_tiers: 'small'"),
        ({"operation_ttls": {"qa": -1}}, "a TTL"),
        ({"operation_ttls": {"two words": 1}}, "operation is a name"),
        ({"redis_url": "http://cache"}, "redis"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        AIResponseCache(**arguments)


async def test_bad_calls_are_refused_by_name(redis_server: RedisServer, prefix: str) -> None:
    async with make(redis_server, prefix) as cache:
        with pytest.raises(UsageError, match="text is a str"):
            await cache.get_cached_response(b"text", "qa")  # type: ignore[arg-type]  # pyright: ignore
        with pytest.raises(UsageError, match="operation is a name"):
            await cache.cache_response(TEXT, "a b", {}, 1)
        with pytest.raises(UsageError, match="response is None"):
            await cache.cache_response(TEXT, "qa", {}, None)
        with pytest.raises(UsageError, match="operation is a name"):
            await cache.invalidate_by_operation("*")
        with pytest.raises(UsageError, match="the pattern is empty"):
            await cache.invalidate_pattern("")


@dataclass
class Sentiment:
    label: str
    score: float


async def test_results_come_back_as_what_they_were(redis_server: RedisServer, prefix: str) -> None:
    async with make(redis_server, prefix) as cache:
        await cache.cache_response(TEXT, "sentiment", {}, Sentiment("good", 0.9))
        found = await cache.get_cached_response(TEXT, "sentiment", {}, into=Sentiment)
        assert found == Sentiment("good", 0.9)


async def test_large_results_are_compressed_and_told_to_the_monitor(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    async with make(redis_server, prefix) as cache:
        large = {"summary": "the same words again and again " * 100}
        await cache.cache_response(TEXT, "summarize", {}, large)
        await cache.cache_response(TEXT, "sentiment", {}, "short")
        assert await cache.get_cached_response(TEXT, "summarize", {}) == large

        entry = client.get(cache.manager.keys.entry("ai_response", cache.text_key(TEXT, "summarize")))
        assert unpack_entry(entry).compression == "zstd"
        compression = cache.get_performance_summary().compression
        assert compression.count == 1
        assert compression.ratio > 10
        assert compression.bytes_after == len(unpack_entry(entry).payload)
    client.close()


async def test_what_is_made_for_all_is_compressed_and_told_too(
    redis_server: RedisServer, prefix: str
) -> None:
    async def generate() -> str:
        return "the same words again and again " * 100

    async with make(redis_server, prefix) as cache:
        for _ in range(3):
            await cache.get_or_generate(TEXT, "summarize", {}, generate)
        assert cache.get_performance_summary().compression.count == 1


async def test_all_that_an_operation_made_dies_with_one_command(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make(redis_server, prefix) as cache, make(redis_server, prefix) as other:
        for number in range(5):
            for operation in ("summarize", "sentiment"):
                await cache.cache_response(f"text {number}", operation, {}, number)
        await other.cache_response("x" * 5000, "summarize", {}, "long")
        client = redis_server.client()
        before = client.xlen(cache.manager.keys.log)

        receipt = await cache.invalidate_by_operation("summarize", operation_context="model_update")

        assert receipt.acknowledged
        assert client.xlen(cache.manager.keys.log) == before + 1
        [(_, record)] = client.xrevrange(cache.manager.keys.log, count=1)
        assert record[b"_reason"] == b"model_update"
        for number in range(5):
            assert await cache.get_cached_response(f"text {number}", "summarize", {}) is None
            assert await cache.get_cached_response(f"text {number}", "sentiment", {}) == number
        assert await cache.get_cached_response("x" * 5000, "summarize", {}) is None
        client.close()


async def test_patterns_match_within_keys(redis_server: RedisServer, prefix: str) -> None:
    async with make(redis_server, prefix) as cache:
        for number in range(3):
            await cache.cache_response(f"text {number}", "sentiment", {}, number)
            await cache.cache_response(f"text {number}", "qa", {}, number)
        client = redis_server.client()

        assert await cache.invalidate_pattern("sentiment", operation_context="batch_invalidation") == 3
        [(_, record)] = client.xrevrange(cache.manager.keys.log, count=1)
        assert record[b"_reason"] == b"batch_invalidation"
        assert await cache.get_cached_response("text 1", "sentiment", {}) is None
        assert await cache.get_cached_response("text 1", "qa", {}) == 1
        assert await cache.invalidate_pattern("text [12]") == 2
        assert await cache.get_cached_response("text 0", "qa", {}) == 0
        found = cache.get_performance_summary().invalidation
        assert (found.events, found.entries) == (2, 5)
        assert found.by_context == {"batch_invalidation": 1}
        client.close()


async def test_namespaces_are_apart(redis_server: RedisServer, prefix: str) -> None:
    async with (
        make(redis_server, prefix, namespace="a") as one,
        make(redis_server, prefix, namespace="b") as other,
    ):
        for cache in (one, other):
            await cache.cache_response(TEXT, "qa", {}, cache.namespace)
            await cache.cache_response("y" * 480, "qa", {}, cache.namespace)
        assert await one.get_cached_response(TEXT, "qa", {}) == "a"
        assert await other.get_cached_response("y" * 480, "qa", {}) == "b"
        await one.invalidate_by_operation("qa")
        assert await one.get_cached_response(TEXT, "qa", {}) is None
        assert await other.get_cached_response(TEXT, "qa", {}) == "b"
        assert await other.invalidate_pattern("qa") == 2


async def test_a_result_is_made_once_for_all_who_ask(redis_server: RedisServer, prefix: str) -> None:
    calls, gate = 0, asyncio.Event()

    async def summarize() -> Sentiment:
        nonlocal calls
        calls += 1
        await gate.wait()
        return Sentiment("good", calls)

    async with make(redis_server, prefix) as one, make(redis_server, prefix) as other:
        asked = [
            asyncio.create_task(cache.get_or_generate(TEXT, "qa", {}, summarize))
            for cache in (one, other)
            for _ in range(5)
        ]
        await eventually(lambda: calls, "the model is called")
        gate.set()
        assert await asyncio.gather(*asked) == [Sentiment("good", 1)] * 10
        assert await one.get_or_generate(TEXT, "qa", {}, summarize) == Sentiment("good", 1)
        assert calls == 1
        assert 0 < one.get_cache_hit_ratio() < 1
        left = await one.ttl(one.text_key(TEXT, "qa"))
        assert left is not None
        assert left <= 1800
        await one.invalidate_by_operation("qa")
        assert (await one.get_or_generate(TEXT, "qa", {}, summarize)).score == 2


async def test_what_was_invalidated_while_it_was_computed_is_not_served(
    redis_server: RedisServer, prefix: str
) -> None:
    config = make_config(redis_server, prefix)
    async with make(redis_server, prefix) as cache, CacheManager(config, recording=False) as stranger:
        assert await cache.get_cached_response(TEXT, "qa", {}) is None
        await stranger.invalidate_tags("ai_response:operation:qa")
        await cache.cache_response(TEXT, "qa", {}, "computed before")
        assert await cache.get_cached_response(TEXT, "qa", {}) is None


async def test_by_key_it_is_a_cache_like_any_other(redis_server: RedisServer, prefix: str) -> None:
    async with make(redis_server, prefix) as cache:
        assert await cache.set("user:123", {"name": "John"}, 60)
        assert await cache.get("user:123") == {"name": "John"}
        assert await cache.exists("user:123")
        assert await cache.get("user:4", "nobody") == "nobody"
        assert await cache.set("none", None)
        assert await cache.get("none", "missing") is None
        assert await cache.set("user:123", 1, nx=True) is False
        assert await cache.set("user:123", 1, 60, True) is False  # noqa: FBT003
        assert await cache.delete("user:123") == 1
        assert await cache.get("user:123") is None
        assert await cache.set_many({"a": 1, "b": 2}) == 2
        assert await cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        assert await cache.increment("n") == 1
        assert await cache.clear()
        assert await cache.get("a") is None


async def test_figures_are_of_what_callers_saw(redis_server: RedisServer, prefix: str) -> None:
    async with make(redis_server, prefix) as cache:
        for number in range(4):
            assert await cache.get_cached_response("x" * 600, "qa", {"n": number}) is None
        await cache.cache_response("x" * 600, "qa", {"n": 0}, "answer")
        for _ in range(6):
            assert await cache.get_cached_response("x" * 600, "qa", {"n": 0}) == "answer"
        await cache.get("other", track_stats=False)

        assert cache.get_cache_hit_ratio() == 0.6
        summary = cache.get_performance_summary()
        assert (summary.hits, summary.misses) == (6, 4)
        assert summary.operations["get"].count == 10
        assert summary.operations["set"].count == 1
        assert summary.key_generation.by_tier["medium"].count == 11
        assert summary.memory.entries == 1
        assert summary.utilization_percent == 1.0
        assert summary.recommendations == ()
        stats = await cache.get_cache_stats()
        assert (stats.hits, stats.misses, stats.cached_responses) == (6, 4, 1)
        assert stats.utilization_percent == 1.0
        assert json.loads(cache.performance_monitor.export_json())["hits"] == 6
        exported = export_prometheus(cache.performance_monitor)
        assert 'stoker_monitor_hits_total{cache_type="ai_response"} 6.0' in exported


async def test_caches_may_share_a_monitor(redis_server: RedisServer, prefix: str) -> None:
    monitor = CachePerformanceMonitor(memory_warning_bytes=1, memory_critical_bytes=2)
    async with (
        make(redis_server, prefix, performance_monitor=monitor) as one,
        make(redis_server, prefix, performance_monitor=monitor, namespace="b") as other,
    ):
        await one.cache_response(TEXT, "qa", {}, 1)
        await other.cache_response(TEXT, "qa", {}, 1)
        assert await one.get_cached_response(TEXT, "qa", {}) == 1
        assert await other.get_cached_response(TEXT, "qa", {}) == 1
        summary = monitor.get_performance_summary()
        assert (summary.hits, summary.memory.entries) == (2, 2)
        assert [alert.kind for alert in summary.alerts if alert.level == "critical"] == ["memory"]


async def test_damaged_results_are_misses(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with make(redis_server, prefix) as cache, make(redis_server, prefix) as other:
        await cache.cache_response(TEXT, "qa", {}, SUMMARY)
        name = cache.manager.keys.entry("ai_response", cache.text_key(TEXT, "qa"))
        client.set(name, b"no entry", ex=100)
        assert await other.get_cached_response(TEXT, "qa", {}) is None
        assert await other.cache_response(TEXT, "qa", {}, "again")
        assert await other.get_cached_response(TEXT, "qa", {}) == "again"
    client.close()


async def test_a_result_that_cannot_be_stored_is_told_and_does_not_raise(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make(redis_server, prefix) as cache:
        assert await cache.cache_response(TEXT, "qa", {}, object()) is False
        assert await cache.get_cached_response(TEXT, "qa", {}) is None
