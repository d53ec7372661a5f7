"""Functions whose results are cached, and caches by key alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stoker.core import (
    NOT_MODIFIED,
    CacheInterface,
    CacheManager,
    NotModified,
    UsageError,
    cached,
    close_default_cache,
)
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.stores import Dictionary

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
        assert one.key(1).startswith("users:")
        assert two.key(1).startswith("v:")
        assert one.key(1) != two.key(1)
        assert await one(1, "first") == await one(1, "second") == "1 first"
        assert ":" not in one.key(1).rpartition(".v1:")[2]
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


@TIERS
async def test_a_cache_and_a_prefix_come_first(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        calls: list[Any] = []

        async def get_user(user_id: int, include_details: bool = False) -> dict[str, int]:
            calls.append((user_id, include_details))
            return {"id": user_id}

        async def get_team(user_id: int) -> str:
            calls.append(("team", user_id))
            return f"team of {user_id}"

        views = cache.cache("page"), cache.cache("page", namespace="eu")
        for place, kind, begin in (
            (cache, "page", "users:"),
            (views[0], None, "users:"),
            (views[1], None, "eu:users:"),
        ):
            calls.clear()
            users = cached(place, "users", cache_type=kind, ttl=30, key_params=["user_id"])(get_user)
            teams = cached(place, "users", cache_type=kind, ttl=30, key_params=["user_id"])(get_team)
            await users.invalidate_all()
            await teams.invalidate_all()
            assert await users(1) == await users(1, include_details=True) == {"id": 1}
            assert await teams(1) == "team of 1"  # of one prefix, and yet another function
            assert calls == [(1, False), ("team", 1)]
            left = await cache.ttl("page", users.key(1))
            assert left is not None
            assert left <= 30
            assert users.key(1).startswith(begin)


async def test_invalidating_one_function_leaves_the_others_of_its_prefix(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        calls: list[str] = []

        @cached(cache, "users", cache_type="page")
        async def one(n: int) -> int:
            calls.append("one")
            return n

        @cached(cache, "users", cache_type="page")
        async def other(n: int) -> int:
            calls.append("other")
            return n

        for _ in range(2):
            await one(1)
            await other(1)
        await one.invalidate_all()
        await one(1)
        await other(1)
        assert calls == ["one", "other", "one"]


async def test_ignored_parameters_tell_nothing_apart(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:

        @cached(cache, "users", cache_type="page", ignore=["session"])
        async def load(session: object, user_id: int) -> int:
            return user_id

        assert await load(object(), 1) == await load(object(), user_id=1) == 1
        assert await load(object(), 2) == 2
        assert cache.counters.of("page").loads == 2


async def test_a_store_of_ones_own_keeps_results() -> None:
    store, calls = Dictionary(), list[Any]()

    @cached(store, "users", ttl=30, key_params=["user_id"], tags=lambda user: [f"team:{user['team']}"])
    async def get_user(user_id: int, trace: str = "") -> dict[str, int]:
        calls.append(user_id)
        return {"id": user_id, "team": 7}

    assert await get_user(1) == await get_user(1, trace="x") == {"id": 1, "team": 7}
    assert store.told == [(get_user.key(1), 30, ["team:7"])]
    assert (await get_user.invalidate(1)).acknowledged
    assert await get_user(1) == {"id": 1, "team": 7}
    assert (await get_user.invalidate_all()).acknowledged
    assert await get_user(1) == {"id": 1, "team": 7}
    assert calls == [1, 1, 1]

    @cached(store)
    async def untagged(n: int) -> None:
        calls.append(n)

    for _ in range(2):
        await untagged(5)  # None is a result
    assert calls == [1, 1, 1, 5]


async def test_a_store_of_ones_own_has_nothing_that_could_be_unmodified() -> None:
    @cached(Dictionary())
    async def load() -> str | NotModified:
        return NOT_MODIFIED

    with pytest.raises(UsageError, match="answered NOT_MODIFIED"):
        await load()


async def test_tags_that_cant_be_told_leave_a_result_unstored() -> None:
    store, calls = Dictionary(), list[int]()

    @cached(store, tags=lambda number: [number])
    async def load(number: int) -> int:
        calls.append(number)
        return number

    assert [await load(1), await load(1)] == [1, 1]
    assert (calls, store.told) == ([1, 1], [])


async def test_what_cannot_be_decorated_is_refused_by_name(redis_server: RedisServer, prefix: str) -> None:
    decorate: Any = cached

    def plain(n: int) -> int:
        return n

    async def load(n: int) -> int:
        return n

    async def give() -> Any:
        yield 1

    def give_later(n: int) -> Awaitable[int]:
        return load(n)

    async with manager(redis_server, prefix, ["redis"]) as cache:
        view = cache.cache("page")
        cases: list[tuple[Callable[[], Any], str]] = [
            (lambda: decorate(cache, cache_type="nobody"), "no cache type is called 'nobody'"),
            (
                lambda: decorate(view, cache_type="session"),
                "the view is on 'page', and cache_type says 'session'",
            ),
            (lambda: decorate(cache, "a", cache_type="page", namespace="b"), "two words for one thing"),
            (lambda: decorate(view, backend="memory"), "none is opened that could use backend"),
            (lambda: decorate(view, redis_host="x"), "none is opened that could use redis_host"),
            (lambda: decorate(load), "is no cache.*with parentheses"),
            (lambda: decorate({}), "is no cache: give a manager"),
            (lambda: decorate(backend="disk"), "no backend 'disk'; there are: memory, redis, multi_layer"),
            (lambda: decorate(view)(plain), "plain is a plain function.*SyncCacheManager"),
            (lambda: decorate(view)(give), "give gives its results one by one"),
            (lambda: decorate(view)(len), "is no function"),
            (lambda: decorate(view, ttl=0), "a TTL is a positive number"),
            (lambda: decorate(view, key_params="n")(load), "several texts"),
            *((lambda v=v: decorate(view, version=v), "whole number") for v in ("1:2", 1.5, -1, True, None)),
            (
                lambda: decorate(view)(give_later),
                "give_later returns what is to be awaited: write it as `asy",
            ),
            (lambda: decorate()(give_later), "give_later returns what is to be awaited"),
        ]
        for call, message in cases:
            with pytest.raises(UsageError, match=message):
                call()


async def test_a_cached_function_can_be_a_loader_and_be_cached_again(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        calls = 0

        @cached(cache, "far", cache_type="page")
        async def load(n: int) -> tuple[int, str]:
            nonlocal calls
            calls += 1
            return n, "x"

        near = cached(backend="memory")(load)
        assert await near(1) == await near(1) == (1, "x")
        assert await cache.get_or_load("page", "k", load, 1) == (1, "x")
        assert await cache.get_or_load("page", "k", load, 1) == (1, "x")
        assert calls == 1
        await close_default_cache()
