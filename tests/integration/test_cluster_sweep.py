"""Sweeps of a cluster, and what becomes of dead entries when servers fail or slots move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from stoker.core import CacheManager, Tag
from stoker.core.entries.lookup import State
from stoker.core.link.cluster import ClusterLink
from stoker.core.link.routing import slot_of
from stoker.core.log.position import parse_position
from stoker.core.maintenance.sweep import COMMIT_MARGIN, Sweep, sweep
from tests.clusters import ClusterServers
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

KEYS = [str(number) for number in range(60)]
TYPES = {
    "product": {"ttl": 300, "after_rollback": "dead"},
    "page": {"ttl": 300, "after_rollback": "revalidate"},
}


@pytest.fixture
def cluster() -> Iterator[ClusterServers]:
    """Three masters, each with a replica."""
    servers = ClusterServers(3, replicas=1)
    try:
        yield servers.start()
    finally:
        servers.stop()


def make(cluster: ClusterServers) -> CacheManager:
    """A manager whose loads are stored up to two seconds after they began."""
    manager = make_manager(cluster, "t", product=TYPES["product"], page=TYPES["page"])
    assert isinstance(manager.link, ClusterLink)
    manager.link.commit_seconds = 2.0
    return manager


async def fill(cache: CacheManager) -> None:
    for kind in TYPES:
        for key in KEYS:
            assert await cache.set(kind, key, key, tags=["doomed"] if int(key) % 2 else [])


async def swept(cache: CacheManager) -> Sweep:
    """Sweep as soon as the newest record is old enough."""
    (newest,) = await cache.link.call("XREVRANGE", cache.keys.log, "+", "-", "COUNT", 1)
    await pass_time(cache.link.commit_seconds * COMMIT_MARGIN + 1)
    done = await sweep(cache, minimum_age=0.0, minimum_records=1)
    assert await cache.log.catch_up()
    assert done.status == "interrupted" or cache.log.history.swept == parse_position(newest[0])
    return done


async def test_a_sweep_goes_over_all_servers(cluster: ClusterServers) -> None:
    async with make(cluster) as cache, make(cluster) as peer:
        await fill(cache)
        assert (await cache.invalidate(Tag("doomed"))).acknowledged
        done = await swept(cache)
        assert (done.status, done.unlinked) == ("done", len(KEYS))
        assert sum(server.client().dbsize() for server in cluster.masters) == len(KEYS) + 2
        for one in (cache, peer):
            for kind in TYPES:
                found = [await one.get(kind, key) for key in KEYS]
                assert found == [None if int(key) % 2 else key for key in KEYS], "the others are trusted"


async def test_what_could_still_be_stored_is_not_trimmed(cluster: ClusterServers) -> None:
    """A commit can't see the fence: the sweep leaves records that are younger than a load may be."""
    async with make(cluster) as cache:
        await fill(cache)
        await cache.invalidate(Tag("doomed"))
        cache.link.commit_seconds = 3600.0
        assert (await sweep(cache, minimum_age=0.0, minimum_records=1)).status == "nothing to do"


async def test_a_load_that_took_too_long_is_not_stored(cluster: ClusterServers) -> None:
    """By the clock of its server, and only if anything was invalidated since that it didn't know of."""
    async with make(cluster) as cache:
        cache.link.commit_seconds = 0.2
        for other, stored in ((True, False), (False, True)):
            started, go = asyncio.Event(), asyncio.Event()

            async def slow(started: asyncio.Event = started, go: asyncio.Event = go) -> str:
                started.set()
                await go.wait()
                return "slow"

            reading = asyncio.create_task(cache.get_or_load("product", "k", slow))
            await started.wait()
            if other:
                assert (await cache.invalidate(Tag("something else"))).acknowledged
                assert await cache.get("product", "another") is None
            await pass_time(0.3)
            await cache.get("product", "another")
            go.set()
            assert await reading == "slow"
            assert (await cache.get("product", "k") == "slow") is stored


async def pass_time(seconds: float) -> None:
    """Wait by the clock: it is what the server goes by."""
    end = time.monotonic() + seconds
    await eventually(lambda: time.monotonic() > end, f"{seconds:g} s have passed")


async def test_slots_that_are_on_the_move_keep_the_log(cluster: ClusterServers) -> None:
    async with make(cluster) as cache:
        await fill(cache)
        await cache.invalidate(Tag("doomed"))
        slot = slot_of(cache.keys.entry("product", "1"))
        target = next(server for server in cluster.masters if server is not cluster.owner(slot))
        cluster.begin_move(slot, target)
        assert (await swept(cache)).status == "interrupted"
        assert (await sweep(cache, minimum_age=0.0, minimum_records=1)).trimmed == 0
        await asyncio.to_thread(cluster.end_move, slot, target)


async def test_what_a_sweep_unlinked_and_a_failover_brought_back_is_not_served(
    cluster: ClusterServers,
) -> None:
    async with make(cluster) as cache:
        await fill(cache)
        home = cluster.owner(slot_of(cache.keys.log))
        master = next(server for server in cluster.masters if server is not home)
        replica = cluster.replicas[cluster.masters.index(master)][0]
        there = [key for key in KEYS if cluster.owner(slot_of(cache.keys.entry("product", key))) is master]
        assert any(int(key) % 2 for key in there)
        cut_off(master)
        assert (await cache.invalidate(Tag("doomed"))).acknowledged
        assert (await swept(cache)).status == "done"
        epoch = cache.log.epoch
        master.kill()
        await eventually(
            lambda: cluster.owner(slot_of(cache.keys.entry("product", there[0]))) is replica,
            "the replica takes over",
            timeout=60,
        )
        assert all(replica.client().exists(cache.keys.entry("product", key)) for key in there), "all are back"
        await is_in_doubt(cache, there)
        async with make(cluster) as newcomer:
            await is_in_doubt(newcomer, there)
        assert cache.log.epoch == epoch, "the log's own server is the same"
        assert await cache.set("product", there[0], "new")
        assert await cache.get("product", there[0]) == "new"
        await cache.invalidate(Tag("doomed"))
        assert (await swept(cache)).status == "done"
        await is_in_doubt(cache, there[1:])
        assert await cache.get("product", there[0]) == "new"


def cut_off(master: RedisServer) -> None:
    """Let its replica hear nothing more of it."""
    client = master.client()
    client.config_set("requirepass", "a secret")
    assert client.client_kill_filter(_type="replica") == 1


async def is_in_doubt(cache: CacheManager, keys: list[str]) -> None:
    """None of these is served as if nothing had happened."""
    await eventually(lambda: reaches(cache, keys), "the new master is found")
    for key in keys:
        assert await cache.get("product", key) is None
        (state,) = await cache.peek("page", [key])
        assert state is None or state.state is not State.FRESH


async def reaches(cache: CacheManager, keys: list[str]) -> bool:
    return all([await cache.set("product", f"{key}-probe", 1) for key in keys])
