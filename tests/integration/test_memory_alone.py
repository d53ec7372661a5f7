"""Caches in the process's own memory, with no server anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager, Everything, Key, Tag, cached
from tests.servers import free_port
from tests.waiting import eventually


def manager(**policy: Any) -> CacheManager:
    config = CacheConfig.model_validate(
        {
            "redis": {"url": f"redis://127.0.0.1:{free_port()}/0", "enabled": False},
            "types": {"page": {"ttl": 60, "jitter": 0, **policy}},
        }
    )
    return CacheManager(config)


async def test_everything_works_without_a_server() -> None:
    async with manager() as cache:
        assert await cache.set("page", "k", {"n": 1}, tags=["t"])
        assert await cache.get("page", "k") == {"n": 1}
        assert (await cache.invalidate(Tag("t"))).acknowledged
        assert await cache.get("page", "k") is None
        assert await cache.set_many("page", {"a": 1, "b": 2}) == 2
        assert await cache.get_many("page", ["a", "b", "c"]) == {"a": 1, "b": 2}
        assert await cache.set("page", "n", 1, if_absent=True)
        assert not await cache.set("page", "n", 2, if_absent=True)
        assert await cache.expire("page", "a", 30)
        assert await cache.touch("page", "a")
        assert await cache.delete("page", "a") == 1
        assert await cache.delete("page", "a") == 0
        async with cache.write_through("page", "w") as write:
            write.value = "w"
        assert write.stored
        assert await cache.get("page", "w") == "w"
        await cache.invalidate(Everything())
        assert await cache.get_many("page", ["b", "n", "w"]) == {}


async def test_a_key_is_loaded_once_and_invalidations_win_over_loads_under_way() -> None:
    async with manager() as cache:
        gate, begun, source, loads = asyncio.Event(), asyncio.Event(), "old", 0

        async def load() -> str:
            nonlocal loads
            loads += 1
            value = source
            begun.set()
            await gate.wait()
            return value

        first = [asyncio.create_task(cache.get_or_load("page", "k", load)) for _ in range(20)]
        await begun.wait()
        source = "new"
        await cache.invalidate(Key("page", "k"))
        second = asyncio.create_task(cache.get_or_load("page", "k", load))
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*first) == ["old"] * 20
        assert await second == "new"
        assert loads == 2
        assert await cache.get("page", "k") == "new"


async def test_misses_mark_the_sets_after_them() -> None:
    async with manager() as cache:
        assert await cache.get("page", "k") is None
        await cache.invalidate(Key("page", "k"))
        await cache.set("page", "k", "computed before")
        assert await cache.get("page", "k") is None
        token = await cache.fill("page", "k")
        await cache.invalidate(Key("page", "k"))
        await cache.set("page", "k", "computed before", token=token)
        assert await cache.get("page", "k") is None


async def test_counters_need_no_server() -> None:
    async with manager() as cache:
        assert await cache.increment("page", "n", ttl=0.2) == 1
        assert await cache.decrement("page", "n", 5) == -4
        assert await cache.counter("page", "n") == -4
        assert await cache.increment("page", "n", -(2**63)) is None
        assert await cache.delete("page", "n") == 1

        async def ended() -> bool:
            return await cache.counter("page", "short") is None

        await cache.increment("page", "short", ttl=0.1)
        await eventually(ended, "its time is over")
        assert await cache.increment("page", "short") == 1


async def test_functions_are_cached_and_stale_values_served() -> None:
    async with manager(ttl=0.1, stale=60) as cache:
        loads = 0

        @cached(cache=cache, cache_type="page")
        async def load(n: int) -> int:
            nonlocal loads
            loads += 1
            return loads

        assert await load(1) == 1
        assert await load(1) == 1

        async def loaded_again() -> bool:
            return await load(1) == 2

        await eventually(loaded_again, "it was loaded behind a stale answer")


async def test_values_are_kept_as_they_are_or_as_copies() -> None:
    value = {"list": [1]}
    async with manager() as cache:
        await cache.set("page", "k", value)
        assert await cache.get("page", "k") is value
        await cache.set("page", "object", unstorable := object())
        assert await cache.get("page", "object") is unstorable
    async with manager(memory_copies=True) as cache:
        await cache.set("page", "k", value)
        assert await cache.get("page", "k") == value
        assert await cache.get("page", "k") is not value
        assert not await cache.set("page", "object", object())


async def test_what_is_larger_than_the_memory_is_said_not_to_be_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    huge, loads = "x" * 200_000, 0
    config = CacheConfig.model_validate({"redis": {"enabled": False}, "memory": {"bytes": 100_000}})
    async with CacheManager(config) as cache:
        counters = cache.counters.of("session")
        assert await cache.set("session", "k", "small")
        assert not await cache.set("session", "k", huge)
        assert await cache.get("session", "k") is None, "it was overwritten"
        for _ in range(2):
            assert not await cache.set("session", "lock", huge, if_absent=True)
        assert await cache.set("session", "lock", "mine", if_absent=True)
        assert await cache.set_many("session", {"a": huge, "b": 1}) == 1
        assert (counters.sets, counters.sets_refused, counters.unstorable) == (3, 0, 4)
        assert caplog.text.count("action=unstorable") == 1
        assert "memory.bytes" in caplog.text

        async def load() -> str:
            nonlocal loads
            loads += 1
            await asyncio.sleep(0)
            return huge

        assert (
            await asyncio.gather(*(cache.get_or_load("session", "l", load) for _ in range(5))) == [huge] * 5
        )
        assert loads == 1
        assert counters.unstorable == 5
