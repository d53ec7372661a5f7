"""Caches that nobody passes around: the default one, and those that decorated functions open themselves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stoker.core import (
    CacheBackend,
    CacheConfig,
    ConfigError,
    UsageError,
    cached,
    close_default_cache,
    get_default_cache,
    init_default_cache,
)
from stoker.core.decorators import default_cache as module
from tests.managers import make_config
from tests.servers import RedisServer


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in tuple(os.environ):
        if name.startswith(("STOKER_", "REDIS_", "CACHE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@contextmanager
def evicting_server() -> Generator[RedisServer]:
    server = RedisServer("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru").start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def nothing_left() -> Iterator[None]:
    yield
    assert not module._defaults
    assert not module._opened
    assert not module._faces


def test_without_an_event_loop_there_is_no_default_cache() -> None:
    with pytest.raises(UsageError, match=r"no event loop runs here.*SyncCacheManager"):
        get_default_cache()


async def test_the_default_cache_is_there_from_init_to_close(
    redis_server: RedisServer, prefix: str, nothing_left: None
) -> None:
    with pytest.raises(
        UsageError, match=r"there is no default cache: await init_default_cache\(config\) first"
    ):
        get_default_cache()
    cache = await init_default_cache(make_config(redis_server, prefix, page={}))
    assert get_default_cache() is cache
    assert await cache.set("page", "k", 1)
    assert await get_default_cache().get("page", "k") == 1
    with pytest.raises(UsageError, match=r"has a default cache: call close_default_cache\(\)"):
        await init_default_cache()
    await close_default_cache()
    await close_default_cache()
    with pytest.raises(UsageError, match="there is no default cache"):
        get_default_cache()


async def test_its_configuration_comes_as_fields_or_from_the_environment(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    cache = await init_default_cache({"redis_url": redis_server.url, "prefix": prefix})
    assert cache.config.redis.url == redis_server.url
    await close_default_cache()
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    monkeypatch.setenv("STOKER_PREFIX", prefix)
    cache = await init_default_cache()
    assert (cache.config.redis.url, cache.config.prefix) == (redis_server.url, prefix)
    assert await cache.set("session", "k", 1)
    await close_default_cache()
    with pytest.raises(ConfigError, match=r"(?s)can't be used: .*extra"):
        await init_default_cache({"extra": 1})


async def test_a_server_that_may_evict_the_log_is_refused_and_nothing_is_left(nothing_left: None) -> None:
    with evicting_server() as server:
        for _ in range(2):
            with pytest.raises(ConfigError, match="allow_eviction"):
                await init_default_cache({"redis_url": server.url})


def test_each_event_loop_has_its_own(redis_server: RedisServer, prefix: str) -> None:
    config = make_config(redis_server, prefix, page={})

    async def elsewhere() -> None:
        with pytest.raises(UsageError, match="another event loop has one"):
            get_default_cache()
        await init_default_cache(config)
        assert await get_default_cache().get("page", "k") == "v"
        await close_default_cache()

    async def here() -> None:
        cache = await init_default_cache(config)
        await cache.set("page", "k", "v")
        await asyncio.to_thread(asyncio.run, elsewhere())
        assert get_default_cache() is cache
        await close_default_cache()

    asyncio.run(here())


def test_a_loop_that_ended_without_closing_its_cache_leaves_nothing(nothing_left: None) -> None:
    memory = {"backend": "memory"}

    async def begin() -> None:
        await init_default_cache(memory)

    async def again() -> None:
        with pytest.raises(UsageError, match="there is no default cache"):
            get_default_cache()
        await init_default_cache(memory)
        await close_default_cache()

    asyncio.run(begin())
    asyncio.run(again())


@pytest.mark.parametrize("backend", [*CacheBackend, "memory"])
async def test_a_function_opens_its_own_cache_at_the_first_call(
    redis_server: RedisServer, prefix: str, backend: str, nothing_left: None
) -> None:
    calls: list[int] = []

    space = f"api-{prefix}"

    @cached(ttl=60, namespace=space, backend=backend, redis_url=redis_server.url, key_prefix=prefix)
    async def get_user(user_id: int) -> tuple[int, str]:
        calls.append(user_id)
        return user_id, "x"

    assert not module._opened
    found = await asyncio.gather(get_user(1), get_user(1), get_user(user_id=1))
    assert list(found) == [(1, "x")] * 3
    assert await get_user(1) == (1, "x")
    assert calls == [1]
    [manager] = [opening.result() for opening in module._opened.values()]
    assert manager.config.policy("cache").in_memory == (backend != "redis")
    assert manager.config.redis.enabled == (backend != "memory")
    left = await manager.ttl("cache", get_user.key(1))
    assert left is not None
    assert 50 < left <= 60
    stored = list(redis_server.client().scan_iter(match=f"{prefix}:e:*"))
    assert len(stored) == (0 if backend == "memory" else 1)
    await get_user.invalidate(1)
    assert await get_user(1) == (1, "x")
    await get_user.invalidate_all()
    assert await get_user(1) == (1, "x")
    assert calls == [1, 1, 1]
    await close_default_cache()
    assert await get_user(1) == (1, "x")  # it opens another one
    assert calls == [1, 1, 1] + ([1] if backend == "memory" else [])
    await close_default_cache()


async def test_functions_that_one_function_makes_need_namespaces(nothing_left: None) -> None:
    def make(tenant: str, namespace: str | None) -> Any:
        @cached(backend="memory", namespace=namespace)
        async def load(number: int) -> str:
            return f"{tenant} {number}"

        return load

    first, second = make("a", None), make("b", "b")
    assert [await first(1), await second(1)] == ["a 1", "b 1"]
    with pytest.raises(UsageError, match="give each a namespace"):
        make("c", None)
    await close_default_cache()


async def test_functions_of_one_configuration_share_a_cache(nothing_left: None) -> None:
    calls: list[str] = []

    @cached(ttl=60, namespace="api", backend="memory")
    async def one(n: int) -> int:
        calls.append("one")
        return n

    @cached(ttl=30, namespace="api", backend="memory")
    async def two(n: int) -> int:
        calls.append("two")
        return n

    @cached(backend="memory", max_size=5)
    async def three(n: int) -> int:
        calls.append("three")
        return n

    for _ in range(2):
        assert [await one(1), await two(1), await three(1)] == [1, 1, 1]
    assert calls == ["one", "two", "three"]
    assert len(module._opened) == 2
    await close_default_cache()


async def test_the_default_cache_serves_functions_that_name_none(
    redis_server: RedisServer, prefix: str, nothing_left: None
) -> None:
    @cached(ttl=60)
    async def unnamed(n: int) -> int:
        return n

    @cached(cache_type="page")
    async def typed(n: int) -> int:
        return n

    @cached(cache_type="nobody")
    async def nowhere(n: int) -> int:
        return n

    cache = await init_default_cache(make_config(redis_server, prefix, page={}))
    assert [await unnamed(1), await typed(1)] == [1, 1]
    assert await cache.exists("cache", unnamed.key(1))
    assert await cache.exists("page", typed.key(1))
    assert not module._opened
    with pytest.raises(UsageError, match="no cache type is called 'nobody'"):
        await nowhere(1)
    await close_default_cache()


@pytest.mark.parametrize(
    "given",
    [
        {"redis_url": "http://nowhere"},
        {"redis_hots": "cache"},
        {"config": {"redis": {"url": "http://nowhere"}}},
    ],
)
def test_a_configuration_that_cant_be_used_is_told_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="can't be used"):
        cached(ttl=5, backend="memory", **given)


def test_a_type_that_a_given_configuration_lacks_is_told_at_once() -> None:
    with pytest.raises(UsageError, match="no cache type is called 'nope'"):
        cached(cache_type="nope", config={"prefix": "x"})
    with pytest.raises(UsageError, match="no cache type is called 'nope'"):
        cached(cache_type="nope", config=CacheConfig())


def test_a_configuration_and_its_fields_are_not_given_both() -> None:
    with pytest.raises(UsageError, match="write into config what is given beside it: redis_url"):
        cached(config={}, redis_url="redis://x")
    with pytest.raises(UsageError, match="write into config"):
        cached(config={"prefix": "x"}, redis_url="redis://x")


async def test_a_server_that_is_away_makes_every_call_a_load(nothing_left: None) -> None:
    calls = 0

    @cached(backend="redis", redis_url="redis://127.0.0.1:1")
    async def load(n: int) -> int:
        nonlocal calls
        calls += 1
        return n

    assert [await load(1), await load(1)] == [1, 1]
    assert calls == 2
    await close_default_cache()


def test_plain_functions_open_a_cache_of_the_process(
    redis_server: RedisServer, prefix: str, nothing_left: None
) -> None:
    calls: list[int] = []

    @cached(ttl=60, backend="multi_layer", redis_url=redis_server.url, key_prefix=prefix)
    def get_user(user_id: int) -> tuple[int, str]:
        calls.append(user_id)
        return user_id, "x"

    assert [get_user(1), get_user(user_id=1)] == [(1, "x")] * 2
    assert calls == [1]
    assert get_user.invalidate(1).acknowledged
    assert get_user(1) == (1, "x")
    assert calls == [1, 1]
    asyncio.run(close_default_cache())
    assert get_user(1) == (1, "x")  # it opens another one
    assert calls == [1, 1]
    asyncio.run(close_default_cache())
