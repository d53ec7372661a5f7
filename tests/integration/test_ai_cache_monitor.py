"""What the monitor of an `AIResponseCache` is told: all that is asked of the cache, however it is asked."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
from typing import Any

import pytest

from stoker.core import AIResponseCache, CacheConfig, CachePerformanceMonitor, UsageError
from tests.integration.test_ai_cache import make
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

TEXT = "Long document to analyze..."


def reads(cache: AIResponseCache) -> tuple[int, int]:
    summary = cache.get_performance_summary()
    return summary.hits, summary.misses


async def test_reads_of_many_keys_are_counted_by_key(redis_server: RedisServer, prefix: str) -> None:
    async with make(redis_server, prefix) as cache:
        assert await cache.set_many({"a": 1, "b": 2}) == 2
        assert await cache.get_many(["a", "b", "c", "a"]) == {"a": 1, "b": 2}
        assert reads(cache) == (2, 1)
        assert cache.get_cache_hit_ratio() == pytest.approx(2 / 3)
        operations = cache.get_performance_summary().operations
        assert (operations["get_many"].count, operations["set_many"].count) == (1, 1)
        assert await cache.delete_many(["a", "b"]) == 2
        assert cache.get_performance_summary().operations["delete_many"].count == 1


async def test_reads_with_a_loader_are_counted(redis_server: RedisServer, prefix: str) -> None:
    async def load() -> str:
        return "the same words again and again " * 100

    async def fail() -> str:
        raise ValueError("the model is down")

    async with make(redis_server, prefix) as cache:
        await cache.get_or_load("k", load)
        assert reads(cache) == (0, 1)
        await cache.get_or_load("k", load)
        assert (await cache.read("k", load)).outcome == "hit"
        assert (await cache.get_or_set("k", load)) == await load()
        assert reads(cache) == (3, 1)
        for read in (cache.get_or_load("other", fail), cache.get_or_generate(TEXT, "qa", {}, fail)):
            with pytest.raises(ValueError, match="the model is down"):
                await read
        assert reads(cache) == (3, 3), "a read whose loader failed was a miss"
        assert cache.get_performance_summary().compression.count == 1
        assert cache.get_performance_summary().operations["get"].count == 3, (
            "of misses the time is the model's"
        )
        stats = await cache.get_cache_stats()
        assert (stats.hits, stats.misses) == (3, 3), "the cache's own statistics say the same"


async def test_reads_that_load_many_are_counted(redis_server: RedisServer, prefix: str) -> None:
    asked: list[list[str]] = []

    async def load(keys: list[str]) -> dict[str, str]:
        asked.append(keys)
        return {key: key.upper() for key in keys}

    async with make(redis_server, prefix, namespace="n") as cache:
        await cache.set("a", "A")
        assert await cache.get_or_load_many(["a", "b", "c"], load) == {"a": "A", "b": "B", "c": "C"}
        assert sorted(asked[0]) == ["b", "c"], "by the view's own keys"
        assert reads(cache) == (1, 2)


@pytest.mark.parametrize("namespace", ["", "n"])
async def test_invalidations_are_counted_once_however_they_are_asked_for(
    redis_server: RedisServer, prefix: str, namespace: str
) -> None:
    async with make(redis_server, prefix, namespace=namespace) as cache:
        ways: dict[str, Any] = {
            "all": cache.invalidate,
            "clear": cache.clear,
            "pattern": lambda: cache.invalidate("user:*"),
            "part": lambda: cache.invalidate_pattern("user"),
            "beginning": lambda: cache.invalidate_keys("user"),
            "clear of a beginning": lambda: cache.clear_beginning("user"),
            "operation": lambda: cache.invalidate_by_operation("qa"),
        }
        for number, (name, way) in enumerate(ways.items(), 1):
            await cache.set("user:1", 1)
            await way()
            if name != "operation":
                assert await cache.get("user:1") is None, name
            assert cache.get_performance_summary().invalidation.events == number, name


async def test_memory_is_seen_while_the_server_is_away() -> None:
    async with AIResponseCache(redis_url=f"redis://127.0.0.1:{free_port()}/0") as cache:
        for number in range(20):
            assert await cache.set(f"k{number}", os.urandom(100_000))
        memory = cache.get_performance_summary().memory
        assert memory.entries == 20
        assert memory.bytes > 20 * 100_000


async def test_a_closed_cache_is_watched_no_longer_until_it_is_opened_again() -> None:
    monitor, url = CachePerformanceMonitor(), f"redis://127.0.0.1:{free_port()}/0"
    cache = AIResponseCache(redis_url=url, performance_monitor=monitor)
    for _ in range(2):
        async with cache:
            await cache.set("k", "x" * 1000)
            memory = monitor.get_performance_summary().memory
            assert (memory.entries, memory.max_entries) == (1, 100)
        other = AIResponseCache(redis_url=url, performance_monitor=monitor)
        async with other:
            assert monitor.get_performance_summary().memory.max_entries == 100, "the closed one's are no more"


def test_a_monitor_keeps_no_cache_alive_that_nobody_closed() -> None:
    monitor = CachePerformanceMonitor()
    kept = AIResponseCache(performance_monitor=monitor)
    for _ in range(3):
        AIResponseCache(performance_monitor=monitor)
    gc.collect()
    assert monitor.get_performance_summary().memory.max_entries == kept.manager.memory.store.max_entries


async def test_many_who_ask_at_once_are_counted_each(redis_server: RedisServer, prefix: str) -> None:
    gate = asyncio.Event()

    async def generate() -> str:
        await gate.wait()
        return "answer"

    async with make(redis_server, prefix) as cache:
        counters = cache.manager.counters.of(cache.cache_type)
        asked = [asyncio.create_task(cache.get_or_generate(TEXT, "qa", {}, generate)) for _ in range(5)]
        await eventually(lambda: counters.misses == 5, "all wait for one call")
        gate.set()
        assert await asyncio.gather(*asked) == ["answer"] * 5
        assert (reads(cache), counters.loads) == ((0, 5), 1)


async def test_a_read_that_was_refused_is_no_read(redis_server: RedisServer, prefix: str) -> None:
    async def load(keys: list[str]) -> dict[str, int]:
        return dict.fromkeys(keys, 1)

    async def fail(_keys: list[str]) -> dict[str, int]:
        raise RuntimeError("the source is away")

    async with make(redis_server, prefix) as cache:
        with pytest.raises(UsageError):
            await cache.get_or_load_many(["a", "b"], load, ttl=-1)
        with pytest.raises(UsageError):
            await cache.get_or_load_many(["", "b"], load)
        assert reads(cache) == (0, 0)
        with pytest.raises(RuntimeError):
            await cache.get_or_load_many(["a", "b"], fail)
        assert reads(cache) == (0, 2)


async def advised(cache: AIResponseCache) -> set[str]:
    """The settings to change that a cache names which is full, and in which little is found."""
    texts = [f"text {number}" for number in range(120)]
    for text in texts:
        assert await cache.get_cached_response(text, "qa", {}) is None
        assert await cache.cache_response(text, "qa", {}, os.urandom(2_000))

    async def full() -> bool:
        for text in texts:
            await cache.get(cache.text_key(text, "qa", {}), track_stats=False)
        return len(cache.manager.memory.store) == 100

    await eventually(full, "memory is full")
    return {advice.setting for advice in cache.get_performance_summary().recommendations}


async def test_advice_names_what_this_cache_goes_by(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = redis_server.url
    monkeypatch.setenv("STOKER_PREFIX", prefix)
    async with AIResponseCache(redis_url=url) as cache:
        found = await advised(cache)
        assert found == {"operation_ttls", "compression_threshold", "memory_cache_size"}
        assert found < set(inspect.signature(AIResponseCache).parameters)
    config = CacheConfig(redis_url=url, key_prefix=prefix, memory_cache_size=100, compression_threshold=1000)
    async with AIResponseCache(config=config, namespace="n", operation_ttls={"qa": 36_000}) as cache:
        assert await advised(cache) == {
            "operation_ttls", "types.ai_response.compress_above", "memory.entries",
        }  # fmt: skip
        ttl = await cache.ttl(cache.text_key("text 119", "qa", {}))
        assert ttl is not None
        assert ttl > 30_000, "advice that is followed has an effect"
