"""A server that is not there when the process starts: memory serves meanwhile, as in any outage."""

from __future__ import annotations

import pytest

from stoker.core import CacheConfig, CacheManager, MultiLayerCache
from tests.servers import RedisServer, free_port
from tests.waiting import eventually


def manager(url: str, prefix: str, **policy: object) -> CacheManager:
    types = {"page": {"ttl": 60, "tiers": ["memory", "redis"], **policy}}
    return CacheManager(CacheConfig.model_validate({"prefix": prefix, "redis": {"url": url}, "types": types}))


def nowhere() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


async def test_what_is_stored_after_a_miss_is_there(prefix: str) -> None:
    async with manager(nowhere(), prefix) as cache:
        assert await cache.get("page", "k") is None
        assert await cache.set("page", "k", 1)
        assert await cache.get("page", "k") == 1


async def test_what_is_loaded_is_loaded_once(prefix: str) -> None:
    loads = 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        return loads

    async with manager(nowhere(), prefix) as cache:
        assert [await cache.get_or_load("page", "k", load) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("policy", [{"on_outage": "bypass"}, {"tiers": ["redis"]}])
async def test_a_set_that_nobody_could_read_says_so(prefix: str, policy: dict[str, object]) -> None:
    async with manager(nowhere(), prefix, **policy) as cache:
        assert await cache.get("page", "k") is None
        assert not await cache.set("page", "k", 1)
        assert await cache.get("page", "k") is None


async def test_a_cache_of_two_tiers_goes_on_in_memory_alone(prefix: str) -> None:
    async with MultiLayerCache(key_prefix=prefix, redis_url=nowhere()) as cache:
        assert await cache.get("k") is None
        assert await cache.set("k", {"name": "tea"})
        assert await cache.get("k") == {"name": "tea"}


async def test_when_the_server_comes_what_it_holds_counts(own_redis_server: RedisServer, prefix: str) -> None:
    async with manager(own_redis_server.url, prefix, ttl=600) as peer:
        await peer.set("page", "k", "theirs")
    own_redis_server.freeze()
    async with manager(own_redis_server.url, prefix) as cache:
        assert await cache.get("page", "k") is None
        assert await cache.set("page", "k", "ours")
        own_redis_server.thaw()
        await eventually(lambda: cache.link.ready, "a connection")

        async def answered() -> bool:
            return bool(await cache.get("page", "k") == "theirs")

        await eventually(answered, "the server's own value")
