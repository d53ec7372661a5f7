"""On a real cluster: entries, log and all else on several servers, and servers that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from stoker.core import CacheManager, Everything, Key, Pattern, Tag, Type
from stoker.core.link.routing import slot_of
from stoker.core.log.scopes import Scope
from stoker.core.maintenance.cleanup import cleanup_metrics
from stoker.core.maintenance.heartbeat import Heartbeat, processes
from stoker.core.maintenance.sizes import measure_sizes
from stoker.core.warming.hotkeys import ranking
from stoker.core.warming.rates import compute_hit_rates, stored_hit_rates
from stoker.core.warming.runs import RunLock, add_totals, recent_runs, record_run, totals
from tests.clusters import ClusterServers
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

KEYS = [str(number) for number in range(40)]
PRODUCT = {"ttl": 300, "after_rollback": "dead"}


@pytest.fixture
def own_cluster() -> Iterator[ClusterServers]:
    """Three masters for one test, which may kill or freeze one; each has a replica."""
    servers = ClusterServers(3, replicas=1)
    try:
        yield servers.start()
    finally:
        servers.stop()


class Source:
    def __init__(self) -> None:
        self.value = 1
        self.loads = 0

    async def load(self, _key: str) -> int:
        self.loads += 1
        return self.value


async def fill(cache: CacheManager, source: Source) -> None:
    await asyncio.gather(*(cache.get_or_load("product", key, source.load, key) for key in KEYS))


def where(cluster: ClusterServers, cache: CacheManager, key: str) -> RedisServer:
    return cluster.owner(slot_of(cache.keys.entry("product", key)))


def log_server(cluster: ClusterServers, cache: CacheManager) -> RedisServer:
    return cluster.owner(slot_of(cache.keys.log))


async def test_entries_are_spread_and_found_again(cluster: ClusterServers, cluster_prefix: str) -> None:
    source = Source()
    async with make_manager(cluster, cluster_prefix, product=PRODUCT) as cache:
        await fill(cache, source)
        assert source.loads == len(KEYS)
        assert {where(cluster, cache, key).port for key in KEYS} == {s.port for s in cluster.masters}
        await fill(cache, source)
        assert source.loads == len(KEYS)
    async with make_manager(cluster, cluster_prefix, product=PRODUCT) as another:
        await fill(another, source)
        assert source.loads == len(KEYS)


@pytest.mark.parametrize(
    "scope", [Tag("t7"), Key("product", "7"), Pattern("product", "7"), Type("product"), Everything()]
)
async def test_an_invalidation_holds_on_all_servers(
    cluster: ClusterServers, cluster_prefix: str, scope: Scope
) -> None:
    source = Source()
    async with (
        make_manager(cluster, cluster_prefix, product=PRODUCT) as cache,
        make_manager(cluster, cluster_prefix, product=PRODUCT) as peer,
    ):
        for key in KEYS:
            assert await cache.set("product", key, 1, tags=[f"t{key}"])
        assert [await peer.get("product", key) for key in KEYS] == [1] * len(KEYS)
        assert (await cache.invalidate(scope)).acknowledged
        found = {key: await peer.get("product", key) for key in KEYS}
        wide = isinstance(scope, (Type, Everything))
        assert found == {key: None if wide or key == "7" else 1 for key in KEYS}
        assert await peer.get_or_load("product", "7", source.load, "7") == source.value


async def test_a_delete_gives_the_memory_back_wherever_it_is(
    cluster: ClusterServers, cluster_prefix: str
) -> None:
    async with make_manager(cluster, cluster_prefix, product=PRODUCT) as cache:
        for key in KEYS:
            assert await cache.set("product", key, 1)
        assert [await cache.delete("product", key) for key in KEYS] == [1] * len(KEYS)
        assert (await measure_sizes(cache)).of("product") == 0


async def test_a_load_that_was_overtaken_is_stored_dead(cluster: ClusterServers, cluster_prefix: str) -> None:
    source = Source()
    async with make_manager(cluster, cluster_prefix, product=PRODUCT) as cache:
        for key in KEYS[:6]:
            started, go = asyncio.Event(), asyncio.Event()

            async def slow(started: asyncio.Event = started, go: asyncio.Event = go) -> int:
                value = source.value
                started.set()
                await go.wait()
                return value

            reading = asyncio.create_task(cache.get_or_load("product", key, slow))
            await started.wait()
            source.value += 1
            assert (await cache.invalidate(Key("product", key))).acknowledged
            go.set()
            await reading
            assert await cache.get_or_load("product", key, source.load, key) == source.value


async def test_what_the_fleet_shares_is_counted_over_all_servers(
    cluster: ClusterServers, cluster_prefix: str
) -> None:
    """Hot keys, rates, run records, heartbeats, sizes and the clean-up: none needs two keys in one slot."""
    source = Source()
    async with make_manager(cluster, cluster_prefix, recording=True, product=PRODUCT) as cache:
        await fill(cache, source)
        await fill(cache, source)
        await eventually(lambda: _hot(cache), "the hot keys are counted", timeout=30)
        await compute_hit_rates(cache)
        assert any(rate.cache_type == "product" for rate in await stored_hit_rates(cache))
        async with RunLock(cache, "sweep", "log") as lock, RunLock(cache, "sweep", "log") as second:
            assert lock.held
            assert not second.held
        for number in range(3):
            await record_run(cache, "sweep", f"run-{number}", {"scanned": number})
        await add_totals(cache, "sweep", {"runs": 3})
        assert len(await recent_runs(cache, "sweep")) == 3
        assert await totals(cache, "sweep") == {"runs": 3}
        beating = Heartbeat(cache, "worker", identity="one")
        await beating.beat()
        assert [info.identity for info in await processes(cache)] == ["one"]
        report = await cleanup_metrics(cache)
        assert not report.error
        assert report.scanned >= len(KEYS)
        assert (await measure_sizes(cache)).entries["product"] == len(KEYS)


async def _hot(cache: CacheManager) -> bool:
    return len(await ranking(cache, "product", 100)) == len(KEYS)


async def test_a_server_that_is_away_is_a_miss_for_its_own_keys_alone(own_cluster: ClusterServers) -> None:
    source = Source()
    async with make_manager(own_cluster, "t", product=PRODUCT) as cache:
        await fill(cache, source)
        home = log_server(own_cluster, cache)
        away = next(server for server in own_cluster.masters if server is not home)
        lost = [key for key in KEYS if where(own_cluster, cache, key) is away]
        away.kill()
        source.loads = 0
        for key in KEYS:
            assert await cache.get_or_load("product", key, source.load, key) == source.value
        assert cache.link.ready
        assert source.loads <= len(lost), "the others were hits"
        assert (await cache.invalidate(Key("product", KEYS[0]))).acknowledged
        await eventually(lambda: _stored_again(cache, lost), "its replica has taken over", timeout=60)


async def test_nothing_stands_in_for_a_server_while_the_log_s_is_there(own_cluster: ClusterServers) -> None:
    policy = {**PRODUCT, "tiers": ["memory", "redis"]}
    async with make_manager(own_cluster, "t", product=policy) as cache:
        home = log_server(own_cluster, cache)
        away = next(server for server in own_cluster.masters if server is not home)
        lost = [key for key in KEYS if where(own_cluster, cache, key) is away]
        tokens = {key: await cache.fill("product", key) for key in lost}
        away.kill()
        stored = {key: await cache.set("product", key, 1, token=tokens[key]) for key in lost}
        assert not all(stored.values()), "its replica has not taken over yet"
        assert [await cache.get("product", key) == 1 for key in lost] == list(stored.values())


async def _stored_again(cache: CacheManager, keys: list[str]) -> bool:
    return all([await cache.set("product", key, 2) for key in keys])


async def test_when_the_logs_server_fails_a_replica_opens_a_new_epoch(own_cluster: ClusterServers) -> None:
    source = Source()
    async with make_manager(own_cluster, "t", product=PRODUCT) as cache:
        await fill(cache, source)
        before = cache.log.epoch
        log_server(own_cluster, cache).kill()
        source.value = 2
        for key in KEYS:
            assert await cache.get_or_load("product", key, source.load, key) in {1, 2}
        receipt = await cache.invalidate(Everything())
        await eventually(
            lambda: cache.link.ready and cache.log.epoch not in {0, before}, "a replica took over", timeout=60
        )
        await eventually(lambda: not cache.log.kept, "what was kept is appended")
        assert not receipt.acknowledged
        for key in KEYS:
            assert await cache.get_or_load("product", key, source.load, key) == 2
        assert (await cache.invalidate(Tag("x"))).acknowledged
