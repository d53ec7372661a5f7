"""Whatever somebody writes in the place of a helper key, each job goes on with the rest."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stoker.core import CacheManager, loader
from stoker.core.keys import Keys
from stoker.core.maintenance.cleanup import cleanup_metrics
from stoker.core.maintenance.heartbeat import Heartbeat
from stoker.core.maintenance.sizes import measure_sizes, stored_sizes
from stoker.core.metrics.collectors import fleet_metrics
from stoker.core.warming.buckets import Buckets
from stoker.core.warming.hotkeys import ranking
from stoker.core.warming.runs import recent_runs
from stoker.core.warming.warming import warm
from tests.integration.fleet.caches import ALWAYS_DUE, flush_hot, key_names, make_cache
from tests.servers import RedisServer

TYPES: dict[str, Any] = {"broken": {"ttl": 60}, "product": {"ttl": 60, "warm": ALWAYS_DUE}}


@loader("odd_keys.same", cache_type="product")
async def same(number: int) -> int:
    return number


@loader("odd_keys.broken", cache_type="broken")
async def broken(number: int) -> int:
    return number


def put_texts(client: Any, *names: str) -> None:
    for name in names:
        client.set(name, "a text", ex=60)


def hot_now(cache: CacheManager, cache_type: str) -> str:
    return cache.keys.hot(cache_type, Buckets.of(cache.policy(cache_type)).start(time.time()))


async def read(cache: CacheManager) -> None:
    for number in (1, 2):
        await cache.get_or_load("product", str(number), same, number)
        await cache.get_or_load("broken", str(number), broken, number)
    await flush_hot(cache)


def no_process(client: Any, keys: Keys) -> None:
    client.zadd(keys.processes, {"no colon": time.time(), b"\xff:\xfe": time.time()})


def no_number(client: Any, keys: Keys) -> None:
    client.hset(keys.sizes, mapping={"broken": "many", "product": "nan"})


def no_total(client: Any, keys: Keys) -> None:
    client.hset(keys.run_totals("warm"), "product|loaded", "many")
    client.expire(keys.run_totals("warm"), 60)


ODD: dict[str, Callable[[Any, Keys], None]] = {
    "sizes of another kind": lambda client, keys: put_texts(client, keys.sizes),
    "sizes that are no numbers": no_number,
    "a process without a colon": no_process,
    "processes of another kind": lambda client, keys: put_texts(client, keys.processes),
    "totals of another kind": lambda client, keys: put_texts(client, keys.run_totals("warm")),
    "totals that are no numbers": no_total,
    "pauses of another kind": lambda client, keys: put_texts(client, keys.paused),
    "rates of another kind": lambda client, keys: put_texts(client, keys.rate("broken")),
}


@pytest.mark.parametrize("spoil", ODD.values(), ids=ODD.keys())
async def test_metrics_of_the_fleet_lose_no_more_than_what_is_odd(
    redis_server: RedisServer, prefix: str, spoil: Callable[[Any, Keys], None]
) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        await read(cache)
        await measure_sizes(cache)
        await Heartbeat(cache, "worker").beat()
        usual = {sample.name for family in await fleet_metrics(cache) for sample in family.samples}
        client = redis_server.client()
        client.delete(cache.keys.sizes) if spoil is not no_number else None
        spoil(client, cache.keys)

        found = {sample.name for family in await fleet_metrics(cache) for sample in family.samples}

        assert usual - found <= {"cache_size_keys", "stoker_processes", "stoker_warming_paused"}
        client.delete(cache.keys.paused)
        client.close()


async def test_statistics_are_told_beside_counts_that_are_no_numbers(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.core.maintenance.sizes.WALKED_KEYS", 0)
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        await read(cache)
        await measure_sizes(cache)
        client = redis_server.client()
        no_number(client, cache.keys)
        stats = await cache.get_stats("product")
        assert (stats.error, stats.sets, stats.cached_keys) == (None, 2, 0)
        client.delete(cache.keys.sizes)
        put_texts(client, cache.keys.sizes)
        stats = await cache.get_stats("product")
        assert (stats.error, stats.cached_keys) == (None, 2), "counted anew"
        client.close()


@pytest.mark.parametrize("count", [measure_sizes, cleanup_metrics], ids=["a walk", "a clean-up"])
async def test_what_has_no_types_name_is_no_size(
    redis_server: RedisServer, prefix: str, count: Callable[[CacheManager], Awaitable[object]]
) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        await read(cache)
        client = redis_server.client()
        put_texts(client, *(f"{prefix}:e:{{{name}:odd}}" for name in ("", "Product", "\ufffd", "a" * 65)))
        client.close()

        began = time.time()
        await count(cache)

        stored = await stored_sizes(cache)
        assert stored is not None
        assert stored.entries == {"broken": 2, "product": 2}
        assert stored.at >= began - 0.001, "they are young, whatever has no type"


async def test_warming_takes_what_can_be_read(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        client = redis_server.client()
        client.zadd(hot_now(cache, "product"), {b"\xff": 99})
        client.expire(hot_now(cache, "product"), 60)
        put_texts(client, hot_now(cache, "broken"))
        await read(cache)
        run = await warm(cache, "product")
        assert (run.status, run.loaded) == ("done", 2)
        assert (await warm(cache, "broken")).status == "done"
        client.delete(cache.keys.recipe("product"))
        put_texts(client, cache.keys.recipe("product"), cache.keys.runs("warm"))
        assert [item.recipe for item in await ranking(cache, "product", 9)] == [None, None]
        assert await recent_runs(cache, "warm") == []
        client.close()


async def test_a_clean_up_goes_on_behind_odd_recipes(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        client = redis_server.client()
        put_texts(client, cache.keys.recipe("broken"))
        client.hset(cache.keys.recipe("product"), mapping={b"\xff\xfe": b"x", "gone": b"x"})
        put_texts(client, cache.keys.recipe("forgotten"))

        report = await cleanup_metrics(cache)

        assert (report.error, report.freed["recipes"], report.freed["unconfigured"]) == ("", 2, 1)
        assert cache.keys.recipe("broken") in key_names(redis_server, prefix), "it is somebody else's"
        assert await stored_sizes(cache) is not None
        client.close()
