"""Caches that share their entries share the names of functions, and each loads again with its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from stoker.core import (
    CacheConfig,
    CacheManager,
    MemoryCache,
    MultiLayerCache,
    RedisCache,
    SyncCacheManager,
    UnknownLoaderError,
    UsageError,
    cached,
)
from stoker.core.recipe import Recipe
from tests.servers import RedisServer

TYPES = {"price": {"ttl": 60}, "stock": {"ttl": 60}}


def config(url: str, prefix: str) -> CacheConfig:
    return CacheConfig.model_validate({"prefix": prefix, "redis": {"url": url, "timeout": 2}, "types": TYPES})


def rows_of(cache: Any, rows: Mapping[int, str], cache_type: str | None = None) -> Any:
    async def get(number: int) -> str:
        return rows[number]

    return cached(cache, "rows", cache_type=cache_type)(get)


def plain_rows_of(cache: SyncCacheManager, rows: Mapping[int, str]) -> Any:
    @cached(cache, "rows", cache_type="price")
    def get(number: int) -> str:
        return rows[number]

    return get


STORES: dict[str, Callable[[str, str], Any]] = {
    "managers": lambda url, prefix: CacheManager(config(url, prefix)),
    "in Redis": lambda url, prefix: RedisCache(redis_url=url, key_prefix=prefix),
    "in both": lambda url, prefix: MultiLayerCache(redis_url=url, key_prefix=prefix),
}


@pytest.mark.parametrize("kind", STORES)
async def test_functions_of_one_name_in_two_caches_with_the_same_entries_are_refused(
    own_redis_server: RedisServer, kind: str
) -> None:
    """However they log in, and whichever is closed by then: what is stored is there."""
    cache_type = "price" if kind == "managers" else None
    with_login = own_redis_server.url.replace("redis://", "redis://default:@")
    async with STORES[kind](own_redis_server.url, "one") as first:
        kept = rows_of(first, {1: "of shop A"}, cache_type)
        assert await kept(1) == "of shop A"
    async with (
        STORES[kind](with_login, "one") as second,
        STORES[kind](own_redis_server.url, "two") as apart,
        STORES[kind](own_redis_server.url.replace("/0", "/1"), "one") as other,
    ):
        with pytest.raises(UsageError, match="give each a namespace"):
            rows_of(second, {1: "of shop B"}, cache_type)
        for cache in (apart, other):
            load = rows_of(cache, {1: "of shop C"}, cache_type)
            assert await load(1) == "of shop C"
            assert (await load.invalidate_all()).acknowledged
    assert kept.key(1)


def test_plain_functions_of_one_name_in_two_caches_with_the_same_entries_are_refused(
    redis_server: RedisServer, prefix: str
) -> None:
    with (
        SyncCacheManager(config(redis_server.url, prefix)) as first,
        SyncCacheManager(config(redis_server.url, prefix)) as second,
    ):
        assert plain_rows_of(first, {1: "a"})(1) == "a"
        with pytest.raises(UsageError, match="give each a namespace"):
            plain_rows_of(second, {1: "b"})


async def test_caches_in_memory_alone_share_nothing() -> None:
    first, second = rows_of(MemoryCache(), {1: "a"}), rows_of(MemoryCache(), {1: "b"})
    assert [await first(1), await second(1)] == ["a", "b"]


async def test_each_type_is_loaded_again_by_its_own_function(redis_server: RedisServer, prefix: str) -> None:
    async with CacheManager(config(redis_server.url, prefix)) as cache:
        price = rows_of(cache, {1: "9.99"}, "price")
        stock = rows_of(cache, {1: "12 left"}, "stock")
        assert [await price(1), await stock(1)] == ["9.99", "12 left"]
        for load, kind in ((price, "price"), (stock, "stock")):
            loader = load.key(1).rpartition(":")[0]
            await cache.reload(kind, load.key(1), Recipe(loader, (1,), {}))
        assert [await price(1), await stock(1)] == ["9.99", "12 left"]


async def test_each_cache_is_loaded_again_by_its_own_function(own_redis_server: RedisServer) -> None:
    """Who warms may reach the server by another name: then the only function that can be meant is."""
    unknown = own_redis_server.url.replace("127.0.0.1", "localhost")
    async with (
        CacheManager(config(own_redis_server.url, "one")) as one,
        CacheManager(config(own_redis_server.url, "two")) as two,
        CacheManager(config(unknown, "one")) as worker,
    ):
        first = rows_of(one, {1: "first"}, "price")
        key = first.key(1)
        recipe = Recipe(key.rpartition(":")[0], (1,), {})
        assert (await worker.reload("price", key, recipe)).value == "first"
        second = rows_of(two, {1: "second"}, "price")
        assert (await one.reload("price", key, recipe)).value == "first"
        assert (await two.reload("price", key, recipe)).value == "second"
        with pytest.raises(UnknownLoaderError, match="give each a namespace"):
            await worker.reload("price", key, recipe)
        with pytest.raises(UnknownLoaderError, match="no loader of 'stock' is called"):
            await one.reload("stock", key, recipe)
        assert second.key(1) == key
