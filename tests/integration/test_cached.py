"""Functions whose results are cached, and caches by key alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from stoker.core import CacheInterface, CacheManager, UsageError, cached
from tests.managers import make_manager
from tests.servers import RedisServer

TIERS = pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"], ["memory"]])


def manager(server: RedisServer, prefix: str, tiers: list[str]) -> CacheManager:
    return make_manager(server, prefix, page={"ttl": 60, "tiers": tiers})


@TIERS
async def test_a_function_is_called_once_for_equal_arguments(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        calls: list[Any] = []

        @cached(cache=cache, cache_type="page")
        async def load(a: int, b: str = "x", *, c: bool = False) -> list[Any]:
            calls.append((a, b, c))
            return [a, b, c]

        for _ in range(3):
            assert await load(1) == [1, "x", False]
            assert await load(1, "x") == [1, "x", False]
            assert await load(a=1, c=False) == [1, "x", False]
        assert await load(2) == [2, "x", False]
        assert await load(1, c=True) == [1, "x", True]
        assert calls == [(1, "x", False), (2, "x", False), (1, "x", True)]
        assert getattr(load, "__name__", "") == "load"


@TIERS
async def test_results_are_invalidated_by_arguments_by_tag_or_all(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        calls = 0

        @cached(cache=cache, cache_type="page", tags=lambda value: [f"n:{value % 2}"], ttl=30)
        async def load(n: int) -> int:
            nonlocal calls
            calls += 1
            return n

        async def called(*wanted: int) -> int:
            before = calls
            await asyncio.gather(*(load(n) for n in wanted))
            return calls - before

        assert await called(1, 2, 3) == 3
        assert await called(1, 2, 3) == 0
        await load.invalidate(1)
        assert await called(1, 2, 3) == 1
        await cache.invalidate_tags("n:1")
        assert await called(1, 2, 3) == 2
        await load.invalidate_all()
        assert await called(1, 2, 3) == 3
        left = await cache.ttl("page", load.key(1))
        assert left is not None
        assert left <= 30


async def test_versions_namespaces_and_parameters_that_count(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:

        async def load(user_id: int, trace: str = "") -> str:
            return f"{user_id} {trace}"

        one = cached(cache=cache, cache_type="page", namespace="users", key_params=["user_id"])(load)
        two = cached(cache=cache.cache("page", namespace="v"), key_params=["user_id"], version=2)(load)
        assert one.key(1, "a") == one.key(1, trace="b")
        assert one.key(1).startswith("users.v1:")
        assert two.key(1).startswith("v:")
        assert one.key(1) != two.key(1)
        assert await one(1, "first") == await one(1, "second") == "1 first"
        with pytest.raises(UsageError, match="no parameter 'nobody'"):
            cached(cache=cache, cache_type="page", key_params=["nobody"])(load)
        with pytest.raises(UsageError, match="needs a cache type"):
            cached(cache=cache)(load)


async def test_an_argument_that_tells_nothing_apart_is_refused_by_name(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:

        @cached(cache=cache, cache_type="page")
        async def load(session: object) -> int:
            return 1

        with pytest.raises(
            UsageError, match=r"argument 'session' of .*load: a object can't be part of a key"
        ):
            await load(object())


class Dictionary(CacheInterface):
    """A store such as a user might bring: what must be there, and no more."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.counts: dict[str, int] = {}

    async def get(self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True) -> Any:
        return self.values.get(key, default)

    async def set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        *,
        tags: Iterable[str] = (),
        if_absent: bool = False,
        nx: bool = False,
    ) -> bool:
        if (if_absent or nx) and key in self.values:
            return False
        self.values[key] = value
        return True

    async def delete(self, key: str) -> int:
        self.counts.pop(key, None)
        return int(self.values.pop(key, self) is not self)

    async def clear(self) -> bool:
        self.values.clear()
        return True

    async def ttl(self, key: str) -> float | None:
        return 3600.0 if key in self.values else None

    async def expire(self, key: str, ttl: float) -> bool:
        return key in self.values

    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        self.counts[key] = self.counts.get(key, 0) + amount
        return self.counts[key]


async def check_cache(cache: CacheInterface, *, other: CacheInterface | None = None) -> None:
    assert await cache.get("k", "nothing") == "nothing"
    assert await cache.set("k", {"n": 1})
    assert await cache.get("k") == {"n": 1}
    assert await cache.exists("k")
    assert await cache.ttl("k") is not None
    assert await cache.expire("k", 30)
    assert not await cache.set("k", 2, if_absent=True)
    assert await cache.set_many({"a": 1, "b": None}) == 2
    assert await cache.get_many(["a", "b", "c"]) == {"a": 1, "b": None}

    async def load(n: int) -> int:
        return n

    assert await cache.get_or_load("l", load, 5) == 5
    assert await cache.get_or_load("l", load, 6) == 5
    if other is not None:
        assert await other.get("k") is None
        await other.set("k", "others")
    assert await cache.delete("k") == 1
    assert await cache.delete("k") == 0
    assert await cache.delete_many(["a", "x"]) == 1
    assert await cache.increment("n", 5) == 5
    assert await cache.decrement("n", 2) == 3
    assert await cache.clear()
    assert not await cache.exists("b")
    if other is not None:
        assert await other.get("k") == "others"


@TIERS
async def test_a_view_is_a_cache_by_key_alone(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        await check_cache(cache.cache("page", namespace="one"), other=cache.cache("page", namespace="on*"))
        await check_cache(cache.cache("page"))
        with pytest.raises(UsageError, match="no cache type"):
            cache.cache("nobody")
        with pytest.raises(UsageError, match="can't be a namespace"):
            cache.cache("page", namespace="a:b")


async def test_a_store_of_ones_own_is_a_cache_too() -> None:
    await check_cache(Dictionary())


async def test_functions_made_by_one_function_need_namespaces(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:

        def make(tenant: str, namespace: str | None = None) -> Any:
            @cached(cache=cache, cache_type="page", namespace=namespace)
            async def load(number: int) -> str:
                return f"{tenant} {number}"

            return load

        first = make("a")
        with pytest.raises(UsageError, match="namespace"):
            make("b")
        assert [await one(1) for one in (first, make("b", "b"), make("c", "c"))] == ["a 1", "b 1", "c 1"]
