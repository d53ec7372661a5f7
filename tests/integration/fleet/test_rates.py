"""Hit rates are exact: what the callers saw, over all processes, each read once."""

from __future__ import annotations

import time

import pytest

from stoker.core import CacheManager, UsageError, loader
from stoker.core.errors import LinkError
from stoker.core.warming.rates import (
    COARSE,
    FINE,
    CounterFlush,
    HitRate,
    Resolution,
    compute_hit_rates,
    stored_hit_rates,
)
from tests.integration.fleet.caches import flush_counters, make_cache, make_config
from tests.servers import RedisServer
from tests.waiting import eventually

PRODUCT = {"product": {"ttl": 60}}


@loader("rates.same", cache_type="product")
async def same(number: int) -> int:
    return number


async def test_rates_are_those_of_all_processes_together(redis_server: RedisServer, prefix: str) -> None:
    async with (
        make_cache(redis_server, prefix, **PRODUCT) as one,
        make_cache(redis_server, prefix, **PRODUCT) as two,
    ):
        for cache in (one, two, two):
            for number in range(10):
                await cache.get_or_load("product", str(number), same, number)
        await two.get("session", "nobody")
        for cache in (one, two):
            await flush_counters(cache)
        rates = await compute_hit_rates(one)
        assert rates == [
            *(HitRate("session", window, 0, 1, 0.0) for window in (60, 300, 3600)),
            *(HitRate("product", window, 20, 10, 20 / 30) for window in (60, 300, 3600)),
        ]
        assert await stored_hit_rates(two) == sorted(rates, key=lambda rate: rate.cache_type)
        assert rates[-1].hit_rate_percent == pytest.approx(100 * 2 / 3)


async def test_a_stale_answer_and_a_stored_none_are_hits(redis_server: RedisServer, prefix: str) -> None:
    async def nothing() -> None:
        return None

    async with make_cache(redis_server, prefix, product={"ttl": 0.01, "stale": 60}) as cache:
        for _ in range(3):
            await cache.get_or_load("product", "none", nothing)
        await flush_counters(cache)
        [rate] = await compute_hit_rates(cache, windows=[60])
        assert (rate.hits, rate.misses) == (2, 1)
        counters = cache.counters.of("product")
        assert counters.negative_hits == 2


async def test_a_repeated_flush_changes_nothing(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        flush = CounterFlush(cache)
        for _ in range(3):
            await cache.get_or_load("product", "1", same, 1)
            await flush.flush()
            await flush.flush()
        [rate] = await compute_hit_rates(cache, windows=[60])
        assert (rate.hits, rate.misses) == (2, 1)


async def test_without_traffic_there_is_no_rate(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        await cache.link.call("HSET", cache.keys.rate("product"), "60", "5/5", "300", "7/7", "junk", "x")
        assert len(await stored_hit_rates(cache)) == 2
        assert await compute_hit_rates(cache, windows=[60, 300]) == []
        assert await stored_hit_rates(cache) == []
        await cache.link.call("UNLINK", cache.keys.rate("product"))


@pytest.mark.parametrize(
    ("resolution", "age", "windows"),
    [
        (FINE, 0, {60, 300}),
        (FINE, 120, {300}),
        (FINE, 330, set[int]()),
        (COARSE, 0, {3600, 86400}),
        (COARSE, 1800, {3600, 86400}),
        (COARSE, 4200, {86400}),
        (COARSE, 86400 + 900, set[int]()),
    ],
)
async def test_a_window_leaves_out_what_is_older(
    redis_server: RedisServer, prefix: str, resolution: Resolution, age: int, windows: set[int]
) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        name = cache.keys.hits(resolution.start(time.time() - age), resolution.width)
        fields = ("product|p1|hits", 1, "product|p2|hits", 2, "product|p1|sets", 5)
        await cache.link.calls([("HSET", name, *fields), ("EXPIRE", name, 60)])
        rates = await compute_hit_rates(cache, windows=[60, 300, 3600, 86400])
        assert {rate.window for rate in rates} == windows
        assert all((rate.hits, rate.misses) == (3, 0) for rate in rates)


async def test_a_window_of_more_than_a_day_is_refused(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        with pytest.raises(UsageError, match="86400"):
            await compute_hit_rates(cache, windows=[7 * 86400])


async def test_the_manager_counts_by_itself(redis_server: RedisServer, prefix: str) -> None:
    async with CacheManager(make_config(redis_server, prefix, **PRODUCT), process="a|b") as cache:
        await cache.get("product", "1")

        async def counted() -> list[HitRate]:
            return await compute_hit_rates(cache, windows=[60])

        [rate] = await eventually(counted, "the miss is counted")
        assert (rate.hits, rate.misses) == (0, 1)


async def test_counts_wait_for_a_server_that_is_away(own_redis_server: RedisServer) -> None:
    async with make_cache(own_redis_server, "outage", **PRODUCT) as cache:
        flush = CounterFlush(cache)
        await cache.get("product", "1")
        own_redis_server.kill()
        with pytest.raises(LinkError):
            await flush.flush()
        own_redis_server.start()
        await cache.link.wait_ready()
        await flush.flush()
        [rate] = await compute_hit_rates(cache, windows=[60])
        assert rate.misses == 1


async def test_what_waits_for_the_server_is_bounded(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(redis_server, prefix, **PRODUCT)  # never connected
    flush = CounterFlush(cache)
    for step in range(300):
        cache.counters.of("product").misses += 1
        monkeypatch.setattr(time, "time", lambda now=1e9 + step * 600.0: now)
        with pytest.raises(LinkError):
            await flush.flush()
    assert len(flush._unsent) == len(flush._buckets) <= sum(r.kept // r.width + 2 for r in (FINE, COARSE))
    assert len(flush._buckets) < 150


async def test_flushing_outlives_an_outage(own_redis_server: RedisServer) -> None:
    async with make_cache(own_redis_server, "outage", **PRODUCT) as cache:
        flush = CounterFlush(cache, flush_every=0.01)
        await flush.start()
        await flush.start()
        own_redis_server.kill()
        await cache.get("product", "1")
        await eventually(lambda: flush.flush_failures, "the outage is counted")
        own_redis_server.start()
        await cache.link.wait_ready()

        async def counted() -> bool:
            return bool(await compute_hit_rates(cache, windows=[60]))

        await eventually(counted, "the miss is counted")
        await flush.stop()
        await flush.stop()
