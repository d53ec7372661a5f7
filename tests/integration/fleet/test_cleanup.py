"""A clean-up frees exactly what outlived its use."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from stoker.core import CacheManager, loader
from stoker.core.maintenance.cleanup import CATEGORIES, CleanupReport, cleanup_metrics
from stoker.core.maintenance.heartbeat import Heartbeat
from stoker.core.maintenance.sizes import measure_sizes, stored_sizes
from stoker.core.warming.pauses import pause
from stoker.core.warming.rates import compute_hit_rates
from stoker.core.warming.runs import RunLock, recent_runs
from stoker.core.warming.warming import warm
from tests.integration.fleet.caches import (
    ALWAYS_DUE,
    flush_counters,
    flush_hot,
    key_names,
    make_cache,
)
from tests.servers import RedisServer

TYPES: dict[str, dict[str, Any]] = {"product": {"ttl": 60, "warm": ALWAYS_DUE}, "sto_ry": {"ttl": 60}}

DAY = 86400


@loader("cleanup.same", cache_type="product")
async def same(number: int) -> int:
    return number


async def use(cache: CacheManager) -> Heartbeat:
    """Leave the traces of every part in Redis; return the heartbeat, which goes on."""
    for number in (1, 2, 3):
        await cache.get_or_load("product", f"n{number}", same, number)
    await cache.set("sto_ry", "with:colon}and{braces", "text")
    await cache.invalidate_tags("unused")
    await flush_hot(cache)
    await flush_counters(cache)
    await warm(cache, "product")
    await compute_hit_rates(cache)
    await pause(cache, "sto_ry", "testing")
    await cache.link.call("SET", cache.keys.lease("product", "loading"), "token", "PX", 5000)
    heartbeat = Heartbeat(cache, "shop", {"port": 8000})
    await heartbeat.start()
    return heartbeat


async def leave_orphans(cache: CacheManager) -> dict[str, str]:
    """Leave what a crash, a changed configuration or a restored snapshot leaves; say the category of each."""
    keys, old = cache.keys, int(time.time()) - 2 * DAY
    orphans = {
        keys.hits(old, 10): "buckets",
        keys.hot("product", old): "buckets",
        keys.hot("former", old + 2 * DAY): "unconfigured",
        keys.recipe("former"): "unconfigured",
        keys.rate("former"): "unconfigured",
        keys.process("worker", "dead"): "processes",
        keys.lease("product", "nobody"): "leases",
        keys.lease("sto_ry", "with:colon}and{braces, gone"): "leases",
    }
    hashes = [name for name in orphans if ":l:" not in name and ":hot:" not in name]
    await cache.link.calls(
        [
            *(("HSET", name, "seen", old) for name in hashes),
            *(("ZADD", name, 1, "k") for name in orphans if ":hot:" in name),
            *(("SET", name, "token") for name in orphans if ":l:" in name),
            ("HSET", keys.recipe("product"), "cold and gone", "recipe"),
        ]
    )
    return orphans


async def test_orphans_go_and_nothing_else(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        heartbeat = await use(cache)
        living = key_names(redis_server, prefix)
        recipes = set(await cache.link.call("HKEYS", cache.keys.recipe("product")))
        orphans = await leave_orphans(cache)
        report = await cleanup_metrics(cache)
        assert report.error == ""
        expected = dict.fromkeys(CATEGORIES, 0) | {"recipes": 1}
        for category in orphans.values():
            expected[category] += 1
        assert report.freed == expected
        assert report.total == len(orphans) + 1
        run = await recent_runs(cache, "cleanup")
        written = {cache.keys.runs("cleanup"), cache.keys.run("cleanup", run[0].run_id), f"{prefix}:sizes"}
        assert key_names(redis_server, prefix) == living | written
        assert set(await cache.link.call("HKEYS", cache.keys.recipe("product"))) == recipes
        assert len(recipes) == 3
        again = await cleanup_metrics(cache)
        assert (again.total, again.bounded) == (0, 0)
        await heartbeat.stop()


async def test_a_dry_run_frees_nothing(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        orphans = await leave_orphans(cache)
        before = key_names(redis_server, prefix)
        report = await cleanup_metrics(cache, dry_run=True)
        assert report.total == len(orphans) + 1
        assert key_names(redis_server, prefix) == before
        assert (await cleanup_metrics(cache)).freed == report.freed


async def test_a_key_without_ttl_is_given_one(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        heartbeat = await use(cache)
        names = [
            name
            for name in key_names(redis_server, prefix)
            if name.split(":")[1] in {"hits", "hot", "recipe", "rate", "run", "runs"}
        ]
        assert len(names) >= 6
        await cache.link.calls([("PERSIST", name) for name in names])
        report = await cleanup_metrics(cache)
        assert (report.bounded, report.total) == (len(names), 0)
        await heartbeat.stop()


async def test_a_lease_whose_entry_is_there_is_left_alone(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        await cache.set("product", "k", 1)
        lease = cache.keys.lease("product", "k")
        await cache.link.call("SET", lease, "token")
        assert (await cleanup_metrics(cache)).total == 0
        assert await cache.link.call("UNLINK", lease) == 1


async def test_keys_below_another_prefix_are_not_touched(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    other = f"{prefix}2:hits:1"
    client.hset(other, "field", "value")
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        assert (await cleanup_metrics(cache)).total == 0
    assert client.unlink(other) == 1
    client.close()


async def test_of_two_at_once_one_cleans(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        async with RunLock(cache, "cleanup", "all") as lock:
            assert lock.held
            assert (await cleanup_metrics(cache)).skipped
        reports: list[CleanupReport] = list(
            await asyncio.gather(cleanup_metrics(cache), cleanup_metrics(cache))
        )
        assert sum(report.skipped for report in reports) == 1


async def test_a_server_that_is_away_is_told(own_redis_server: RedisServer) -> None:
    async with make_cache(own_redis_server, "away", **TYPES) as cache:
        own_redis_server.kill()
        assert (await cleanup_metrics(cache)).error


async def test_entries_are_counted_on_the_way(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        assert await stored_sizes(cache) is None
        for number in range(2500):
            await cache.set("product", f"k{number}", number)
        await cache.set("sto_ry", "one", 1)
        await cleanup_metrics(cache)
        sizes = await stored_sizes(cache)
        assert sizes is not None
        assert sizes.entries["product"] == 2500
        assert sizes.entries["sto_ry"] == 1
        assert sizes.of("session") == 0
        await cache.delete("product", "k1")
        measured = await measure_sizes(cache)
        assert measured.entries["product"] == 2499
        assert (stored := await stored_sizes(cache)) is not None
        assert stored.entries == measured.entries


async def test_the_index_of_processes_is_bounded_in_time(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        await cache.link.call("ZADD", cache.keys.processes, 1, "worker:long ago")
        await Heartbeat(cache, "shop").beat()
        assert await cache.link.call("ZCARD", cache.keys.processes) == 1
