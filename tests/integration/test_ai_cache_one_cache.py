"""In an outage `AIResponseCache` is one cache with one set of rules: it obeys its own invalidations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stoker.core import AIResponseCache, CacheConfig, invalidate_on_write
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

TEXT = "Long document to analyze..."

Invalidate = Callable[[AIResponseCache], Awaitable[Any]]


def make_away() -> AIResponseCache:
    """A cache whose server is never reached."""
    return AIResponseCache(redis_url=f"redis://127.0.0.1:{free_port()}/0")


async def _written(cache: AIResponseCache) -> None:
    @invalidate_on_write(cache, "user")
    async def write() -> None: ...

    await write()


async def _written_through(cache: AIResponseCache) -> None:
    async with cache.write_through("user:1") as write:
        write.value = "unknown to others"


BY_KEY: dict[str, Invalidate] = {
    "a pattern": lambda cache: cache.invalidate("user:*"),
    "all": lambda cache: cache.invalidate(),
    "clear": lambda cache: cache.clear(),
    "a key": lambda cache: cache.delete("user:1"),
    "keys": lambda cache: cache.delete_many(["user:1"]),
    "a beginning": lambda cache: cache.invalidate_keys("user"),
    "clear of a beginning": lambda cache: cache.clear_beginning("user"),
    "a part": lambda cache: cache.invalidate_pattern("user"),
    "a write": _written,
    "a write through": _written_through,
}


@pytest.mark.parametrize("way", BY_KEY)
async def test_what_was_invalidated_is_not_served_while_the_server_is_away(way: str) -> None:
    async with make_away() as away:
        assert await away.set("user:1", "old")
        assert await away.get("user:1") == "old"
        await BY_KEY[way](away)
        assert await away.get("user:1") is None


BY_OPERATION: dict[str, Invalidate] = {
    "the operation": lambda cache: cache.invalidate_by_operation("summarize"),
    "a part": lambda cache: cache.invalidate_pattern("summarize"),
    "all": lambda cache: cache.invalidate(),
    "clear": lambda cache: cache.clear(),
    "the key": lambda cache: cache.delete(cache.text_key(TEXT, "summarize", {})),
}


@pytest.mark.parametrize("way", BY_OPERATION)
async def test_an_invalidation_during_the_first_load_of_an_outage_counts(way: str) -> None:
    async with make_away() as away:
        started, gate = asyncio.Event(), asyncio.Event()

        async def generate() -> str:
            started.set()
            await gate.wait()
            return "from before"

        loading = asyncio.create_task(away.get_or_generate(TEXT, "summarize", {}, generate))
        await started.wait()
        await BY_OPERATION[way](away)
        gate.set()
        assert await loading == "from before"
        assert await away.get_cached_response(TEXT, "summarize", {}) is None


@pytest.mark.parametrize("way", BY_OPERATION)
async def test_what_was_computed_by_hand_before_an_invalidation_is_not_kept(way: str) -> None:
    async with make_away() as away:
        assert await away.get_cached_response(TEXT, "summarize", {}) is None
        await BY_OPERATION[way](away)
        await away.cache_response(TEXT, "summarize", {}, "from before")
        assert await away.get_cached_response(TEXT, "summarize", {}) is None


async def test_a_miss_before_the_outage_counts_however_the_value_is_set(
    own_redis_server: RedisServer,
) -> None:
    """Somebody else has invalidated since, and this process knows it; then the server went."""
    config = CacheConfig(redis={"url": own_redis_server.url, "timeout": 5.0})
    async with AIResponseCache(config=config) as cache, AIResponseCache(config=config) as other:
        assert await cache.get("k") is None
        await other.delete("k")
        assert await cache.get("another", track_stats=False) is None  # it has read the log since
        own_redis_server.kill()
        await eventually(lambda: not cache.manager.link.ready, "the server is seen to be away")
        await cache.set("k", "from before")
        assert await cache.get("k") is None


async def test_what_is_set_is_there_for_all_that_reads() -> None:
    async with make_away() as away:
        calls = 0

        async def load() -> Any:
            nonlocal calls
            calls += 1
            return calls

        assert await away.set("k", "set", 50)
        assert await away.get_or_load("k", load) == "set"
        assert (await away.read("k", load)).value == "set"
        assert await away.get_many(["k"]) == {"k": "set"}
        assert await away.exists("k")
        left = await away.ttl("k")
        assert left is not None
        assert 30 < left <= 50
        assert [await away.get_or_load("other", load) for _ in range(3)] == [1, 1, 1]
        assert await away.get("other") == 1
        assert await away.set_many({"other": 7}) == 1
        assert await away.get_or_load("other", load) == 7
        assert await away.cache_response(TEXT, "qa", {}, "an answer")
        assert await away.get_or_generate(TEXT, "qa", {}, load) == "an answer"
        assert away.get_performance_summary().memory.entries == 3, "the monitor sees the one memory"


async def test_what_is_kept_stays_however_often_the_server_is_tried(own_redis_server: RedisServer) -> None:
    config = CacheConfig(redis={"url": own_redis_server.url, "timeout": 0.1, "connect_timeout": 0.1})
    async with AIResponseCache(config=config) as cache:
        link = cache.manager.link
        own_redis_server.freeze()
        try:
            assert await cache.get("another") is None
            await eventually(lambda: not link.ready, "the server is seen to be away")
            assert await cache.set("k", 1)
            tried = (link.connections, link.timeouts)
            await eventually(lambda: (link.connections, link.timeouts) != tried, "it was tried again")
            assert await cache.get("k") == 1
        finally:
            own_redis_server.thaw()


async def test_a_server_that_accepts_and_closes_is_away_too() -> None:
    tries = 0

    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, AIResponseCache(redis_url=f"redis://127.0.0.1:{port}/0") as cache:
        assert await cache.set("k", 1)
        before = tries
        await eventually(lambda: tries > before + 2, "it was tried again and again")
        assert await cache.get("k") == 1


async def test_memory_serves_what_it_had_for_a_day() -> None:
    cache = AIResponseCache()
    assert cache.manager.policy("ai_response").on_outage == 86_400
    config = CacheConfig(types={"ai_response": {"on_outage": "bypass"}})
    bypassing = AIResponseCache(config=config)
    assert bypassing.manager.policy("ai_response").outage_seconds == 0


async def test_a_set_overwrites_what_was_set_just_before_the_server_went(
    own_redis_server: RedisServer,
) -> None:
    config = CacheConfig(redis={"url": own_redis_server.url, "timeout": 5.0})
    async with AIResponseCache(config=config) as cache:
        for key in "abcde":
            assert await cache.set(key, "old")
        assert len(await cache.get_many(list("abcde"))) == 5
        own_redis_server.kill()
        await eventually(lambda: not cache.manager.link.ready, "the server is seen to be away")
        assert await cache.set("a", "new", nx=True) is False
        assert await cache.get("a") == "old"
        assert await cache.set("b", "new")
        assert await cache.set_many({"c": "new"}) == 1
        assert await cache.get_many(["b", "c", "d"]) == {"b": "new", "c": "new", "d": "old"}
