"""What one process stores drops what others hold of it in memory; what memory holds is nothing less."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from stoker.core import CacheManager, Key, Type
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually


@dataclass
class Brief:
    id: int


WHOLE = {"id": 1, "name": "tea", "price": 5}


def manager(server: RedisServer, prefix: str, tiers: list[str] | None = None, **policy: Any) -> CacheManager:
    return make_manager(server, prefix, page={"ttl": 60, "tiers": tiers or ["memory", "redis"], **policy})


async def hears_of_it(cache: CacheManager, old: str, new: str) -> None:
    await eventually(lambda: cache.memory.hit("page", "k", Any) != old, "the overwrite is heard of")
    assert await cache.get("page", "k") == new


async def test_a_value_set_after_a_miss_drops_older_copies_elsewhere(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as one, manager(redis_server, prefix) as two:
        assert await one.get("page", "k") is None
        await two.set("page", "k", "old")
        assert await two.get("page", "k") == "old"
        token = await one.fill("page", "k")
        assert await one.set("page", "k", "new", token=token)
        await hears_of_it(two, "old", "new")
        assert await one.get("page", "k") == "new"


async def test_values_set_together_after_misses_drop_older_copies_elsewhere_by_one_record(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as one, manager(redis_server, prefix) as two:
        client = redis_server.client()
        values = {"k": "new", "other": "new"}

        async def set_as_loaded() -> None:
            assert await one.get_many("page", values) == {}
            # The entries of the other process must be no younger than these misses.
            for key in values:
                await two.storage.store("page", key, "old", (), two.log.epoch, one.log.seen, ttl=None)
                assert await two.get("page", key) == "old"
            before = client.xlen(f"{prefix}:log")
            assert await one.set_many("page", values) == 2
            assert client.xlen(f"{prefix}:log") == before + 1

        await asyncio.create_task(set_as_loaded())
        client.close()
        await hears_of_it(two, "old", "new")


async def test_what_is_stored_where_nothing_was_drops_copies_elsewhere(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as one, manager(redis_server, prefix) as two:
        await two.set("page", "k", "old")
        assert await two.get("page", "k") == "old"
        client = redis_server.client()
        client.delete(one.keys.entry("page", "k"))  # as an eviction does
        client.close()
        assert await one.set("page", "k", "new", if_absent=True)
        await hears_of_it(two, "old", "new")


async def test_where_values_are_in_memory_alone_a_set_after_a_miss_is_kept_and_drops_others(
    redis_server: RedisServer, prefix: str
) -> None:
    async with (
        manager(redis_server, prefix, ["memory"]) as one,
        manager(redis_server, prefix, ["memory"]) as two,
    ):
        for cache, value in ((one, "old"), (two, "new")):
            token = await cache.fill("page", "k")
            assert await cache.set("page", "k", value, token=token)
            assert await cache.get("page", "k") == value
        await eventually(lambda: one.memory.hit("page", "k", Any) != "old", "the overwrite is heard of")
        assert await one.get("page", "k") is None
        assert await two.get("page", "k") == "new"


async def test_a_longer_life_is_not_given_to_a_copy_of_another_entry(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as one, manager(redis_server, prefix) as two:
        await one.set("page", "k", "old")
        assert await one.get("page", "k") == "old"
        await two.invalidate(Key("page", "another"))
        # A load elsewhere, which tells nobody.
        log = two.log
        assert await two.storage.store("page", "k", "new", (), log.epoch, log.known, ttl=None)
        assert await one.touch("page", "k")
        assert one.memory.hit("page", "k", Any) != "old"
        assert await one.get("page", "k") == "new"


@pytest.mark.parametrize("rule", ["revalidate", "trust"])
async def test_an_entry_of_an_older_log_is_dead_once_it_is_invalidated(
    own_redis_server: RedisServer, rule: str
) -> None:
    one, two = (manager(own_redis_server, "p", ["memory"], after_rollback=rule) for _ in range(2))
    async with one, two:
        loads = 0

        async def load() -> int:
            nonlocal loads
            loads += 1
            return loads

        assert await one.get_or_load("page", "k", load) == 1
        before = one.log.last_epoch
        client = own_redis_server.client()
        client.delete("p:log")
        client.close()
        await eventually(lambda: one.log.epoch not in {0, before}, "the log is made anew")
        assert one.memory.judge("page", "k").state == ("fresh" if rule == "trust" else "stale")
        assert (await two.invalidate(Type("page"))).acknowledged
        assert await one.get_or_load("page", "k", load) == 2


async def test_what_one_caller_leaves_out_others_get(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix) as cache, manager(redis_server, prefix) as other:
        await other.set("page", "k", WHOLE)
        assert await other.set_many("page", {"m": WHOLE}) == 1
        for _ in range(2):
            assert await cache.get("page", "k", into=Brief) == Brief(1)
            assert await cache.get("page", "k") == WHOLE
            assert await cache.get_many("page", ["m"], into=Brief) == {"m": Brief(1)}
            assert await cache.get_many("page", ["m"]) == {"m": WHOLE}


async def test_loaders_that_return_parts_of_a_value_leave_it_whole_for_others(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as cache, manager(redis_server, prefix) as other:

        async def load_brief() -> Brief:
            raise AssertionError("there is a value")

        await other.set("page", "k", WHOLE)
        for _ in range(2):
            assert await cache.get_or_load("page", "k", load_brief) == Brief(1)
            assert await cache.get("page", "k") == WHOLE


async def test_what_several_types_are_made_of_is_fetched_once(
    own_redis_server: RedisServer,
) -> None:
    async with manager(own_redis_server, "p") as cache:
        await cache.set("page", "k", WHOLE)
        for _ in range(2):
            assert await cache.get("page", "k", into=Brief) == Brief(1)
            assert await cache.get("page", "k") == WHOLE
        client = own_redis_server.client()

        def fetches() -> int:
            return int(client.info("commandstats").get("cmdstat_getrange", {"calls": 0})["calls"])

        before = fetches()
        for _ in range(5):
            assert await cache.get("page", "k", into=Brief) == Brief(1)
            assert await cache.get("page", "k") == WHOLE
        assert fetches() == before
        client.close()


async def test_kinds_of_values_that_cannot_be_stored_are_logged_within_a_bound(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60}) as cache:
        for number in range(1_100):
            kind = type(f"Kind{number}", (), {"__slots__": ()})
            assert not await cache.set("page", "k", kind())
        assert len(cache.storage._maker._unstorable) <= 1_000
        assert cache.counters.of("page").unstorable == 1_100
        await cache.invalidate(Key("page", "k"))


@pytest.mark.parametrize("kind", ["authoritative", "derived"])
def test_values_that_a_sweep_may_lose_are_warned_of(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    manager(redis_server, prefix, ["memory"], kind=kind)
    assert ("action=memory_may_lose cache_type=page" in caplog.text) == (kind == "authoritative")
