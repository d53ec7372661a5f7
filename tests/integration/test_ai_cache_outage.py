"""Results of operations while the server is away: what is stored is in memory alone, until it is back."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core import AIResponseCache, CacheConfig
from tests.servers import RedisServer
from tests.waiting import eventually

TEXT = "Long document to analyze..."
SUMMARY = {"summary": "Brief summary", "confidence": 0.95}


async def test_without_a_server_from_the_start_it_is_in_memory() -> None:
    calls = 0

    async def generate() -> str:
        nonlocal calls
        calls += 1
        return f"made {calls}"

    async with AIResponseCache(redis_url="redis://127.0.0.1:1/0") as cache:
        assert await cache.cache_response(TEXT, "qa", {}, SUMMARY)
        assert await cache.get_cached_response(TEXT, "qa", {}) == SUMMARY
        assert await cache.set("key", 1)
        assert await cache.get("key") == 1
        assert await cache.delete("key") == 0, "nothing was unlinked in the server"
        assert await cache.get("key") is None
        assert await cache.get_or_generate(TEXT, "summarize", {}, generate) == "made 1"
        assert await cache.get_or_generate(TEXT, "summarize", {}, generate) == "made 1"
        assert cache.get_cache_hit_ratio() > 0

        assert not (await cache.invalidate_by_operation("qa")).acknowledged
        assert await cache.get_cached_response(TEXT, "qa", {}) is None
        assert await cache.invalidate_pattern("summarize") == 0
        assert await cache.get_or_generate(TEXT, "summarize", {}, generate) == "made 2"
        await cache.clear()
        assert await cache.get_cached_response(TEXT, "summarize", {}) is None
        stats = await cache.get_cache_stats()
        assert "error" in stats
        assert stats.connected is False


async def test_by_key_it_is_a_cache_like_any_other_all_the_same() -> None:
    async with AIResponseCache(redis_url="redis://127.0.0.1:1/0", default_ttl=600) as cache:
        assert await cache.set_many({"a": 1, "b": None}) == 2
        assert await cache.get_many(["a", "b", "c"]) == {"a": 1, "b": None}
        assert await cache.get("b", "missing") is None
        assert await cache.exists("a")
        left = await cache.get_ttl("a")
        assert left is not None
        assert 590 < left <= 600
        assert await cache.set("a", 2, 5)
        left = await cache.ttl("a")
        assert left is not None
        assert left <= 5
        assert await cache.delete_many(["a", "c"]) == 0
        assert not await cache.exists("a")
        assert await cache.set("b", 1, nx=True) is False, "whether others have it nobody knows"
        assert await cache.increment("n") is None, "a counter is the server's"
        assert await cache.clear() is False, "no other process knows of it"
        assert await cache.get_many(["a", "b"]) == {}


async def test_what_stands_in_is_bounded() -> None:
    async with AIResponseCache(redis_url="redis://127.0.0.1:1/0", memory_cache_size=10) as cache:
        for number in range(50):
            assert await cache.cache_response(f"text {number}", "qa", {}, number)
        found = [await cache.get_cached_response(f"text {number}", "qa", {}) for number in range(50)]
        assert found[-1] == 49, "the newest stays"
        assert 1 <= sum(one is not None for one in found) <= 10


async def test_namespaces_are_apart_without_a_server_too() -> None:
    async with AIResponseCache(redis_url="redis://127.0.0.1:1/0", namespace="a") as cache:
        await cache.cache_response(TEXT, "qa", {}, 1)
        await cache.cache_response(TEXT, "summarize", {}, 2)
        await cache.invalidate_by_operation("qa")
        assert await cache.get_cached_response(TEXT, "qa", {}) is None
        assert await cache.get_cached_response(TEXT, "summarize", {}) == 2
        await cache.invalidate_pattern("Long doc*")
        assert await cache.get_cached_response(TEXT, "summarize", {}) is None


async def test_what_stood_in_for_the_server_goes_when_it_is_back(own_redis_server: RedisServer) -> None:
    config = CacheConfig(redis={"url": own_redis_server.url, "timeout": 5.0})
    async with AIResponseCache(config=config) as cache:
        await cache.cache_response(TEXT, "qa", {}, "before")
        own_redis_server.kill()
        await eventually(lambda: not cache.manager.link.ready, "the server is seen to be away")

        async def request() -> str:
            """As in a service, a task of its own."""
            assert await cache.cache_response(TEXT, "summarize", {}, "meanwhile")
            found: str = await cache.get_cached_response(TEXT, "summarize", {})
            return found

        assert await asyncio.create_task(request()) == "meanwhile"
        own_redis_server.start()
        await eventually(lambda: cache.manager.link.ready, "the server is back")
        assert await cache.get_cached_response(TEXT, "summarize", {}) is None, "nobody knows what others did"
        await eventually(
            lambda: cache.cache_response(TEXT, "summarize", {}, "after"),
            "results are stored again, once what was told meanwhile has been appended",
        )
        assert await cache.get_cached_response(TEXT, "summarize", {}) == "after"


@pytest.mark.parametrize("restarts", [True, False])
async def test_what_stood_in_does_not_outlive_a_server_that_was_back_in_between(
    own_redis_server: RedisServer, restarts: bool
) -> None:
    """Nobody asked this cache meanwhile; but others may have invalidated."""
    config = CacheConfig(redis={"url": own_redis_server.url, "timeout": 5.0 if restarts else 0.2})
    go = own_redis_server.kill if restarts else own_redis_server.freeze
    come_back = own_redis_server.start if restarts else own_redis_server.thaw
    async with AIResponseCache(config=config) as cache:

        async def is_away() -> bool:
            await cache.get_cached_response("another text", "qa", {})
            return not cache.manager.link.ready

        go()
        await eventually(is_away, "the server is seen to be away")
        assert await cache.cache_response(TEXT, "summarize", {}, "from the first outage")
        assert await cache.get_cached_response(TEXT, "summarize", {}) == "from the first outage"
        come_back()
        await eventually(lambda: cache.manager.link.ready, "the server is back")
        assert await cache.manager.log.catch_up()
        go()
        await eventually(is_away, "the server is away again")

        assert await cache.get_cached_response(TEXT, "summarize", {}) is None
        if not restarts:
            come_back()


async def test_a_server_that_freezes_is_away_too(own_redis_server: RedisServer) -> None:
    config = CacheConfig(redis={"url": own_redis_server.url, "timeout": 0.2})
    async with AIResponseCache(config=config) as cache:
        own_redis_server.freeze()
        try:
            assert await cache.get_cached_response(TEXT, "qa", {}) is None
            assert await cache.cache_response(TEXT, "qa", {}, SUMMARY)
            assert await cache.get_cached_response(TEXT, "qa", {}) == SUMMARY
        finally:
            own_redis_server.thaw()
        await eventually(lambda: cache.manager.link.ready, "it answers again")
        assert await cache.get_cached_response(TEXT, "summarize", {}) is None


async def test_the_write_that_finds_the_server_away_says_so_unless_a_miss_came_before(
    own_redis_server: RedisServer,
) -> None:
    config = CacheConfig(redis={"url": own_redis_server.url, "timeout": 0.2})
    for misses, kept in ((False, None), (True, SUMMARY)):
        async with AIResponseCache(config=config) as cache:
            if misses:
                assert await cache.get_cached_response(TEXT, "qa", {}) is None
            own_redis_server.freeze()
            try:
                assert cache.manager.link.ready, "nobody has noticed yet"
                assert await cache.cache_response(TEXT, "qa", {}, SUMMARY) is misses
                assert await cache.get_cached_response(TEXT, "qa", {}) == kept
                assert await cache.cache_response("another text", "qa", {}, SUMMARY)
            finally:
                own_redis_server.thaw()
            await eventually(lambda: cache.manager.link.ready, "it answers again")
