"""A server that sentinels look after fails, its replica takes over, and readers and writers notice little."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stoker.core import CacheConfig, CacheManager, Everything
from stoker.core.errors import LinkError
from stoker.core.link.sentinel import SentinelLink
from tests.clusters import Sentinels, replicate
from tests.freshness import Traffic
from tests.managers import make_manager
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

KEYS = [str(number) for number in range(20)]
PRODUCT = {"ttl": 300, "after_rollback": "dead"}


class Fleet:
    """A master, its replica, and three sentinels."""

    def __init__(self) -> None:
        self.master, self.replica = (RedisServer("--repl-diskless-sync-delay", "0") for _ in range(2))
        self.sentinels = Sentinels(self.master)

    @property
    def url(self) -> str:
        return self.sentinels.url

    def start(self) -> None:
        self.master.start()
        self.replica.start()
        replicate(self.replica, self.master)
        self.sentinels.start()

    def stop(self) -> None:
        self.sentinels.stop()
        self.replica.stop()
        self.master.stop()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet()
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.stop()


def brisk(fleet: Fleet) -> CacheManager:
    """A manager with the time limits of a service."""
    config = CacheConfig.model_validate(
        {
            "prefix": "t",
            "redis": {"url": fleet.url, "timeout": 0.2, "connect_timeout": 1},
            "types": {"product": {"jitter": 0.0, **PRODUCT}},
        }
    )
    return CacheManager(config, recording=False)


async def acknowledged(cache: CacheManager) -> bool:
    return (await cache.invalidate(Everything())).acknowledged


async def test_the_master_is_found_and_used(fleet: Fleet) -> None:
    async with make_manager(fleet, "t", product=PRODUCT) as cache:
        assert await cache.set("product", "k", 1)
        assert await cache.get("product", "k") == 1
        assert fleet.master.client().exists(cache.keys.entry("product", "k"))


@pytest.mark.parametrize("blow", ["kill", "freeze"])
async def test_a_failover_under_load_raises_nothing_and_serves_nothing_dead(fleet: Fleet, blow: str) -> None:
    async with brisk(fleet) as cache, brisk(fleet) as peer:
        before = cache.log.epoch
        async with Traffic([cache, peer], KEYS) as traffic:
            await eventually(lambda: traffic.acknowledged > 20, "traffic flows")
            getattr(fleet.master, blow)()
            await eventually(
                lambda: fleet.sentinels.master_port() == fleet.replica.port,
                "the replica takes over",
                timeout=60,
            )
            await eventually(
                lambda: cache.log.epoch == peer.log.epoch not in {0, before}, "both have found it", timeout=20
            )
            if blow == "freeze":
                fleet.master.thaw()  # it takes itself for the master until a sentinel tells it otherwise
            acknowledged = traffic.acknowledged
            await eventually(lambda: traffic.acknowledged > acknowledged + 20, "the log takes invalidations")
        assert traffic.errors == []
        assert traffic.stale == []
        await eventually(lambda: not (cache.log.kept or peer.log.kept), "what was kept is appended")
        assert await cache.set("product", "k", 1)
        assert fleet.replica.client().exists(cache.keys.entry("product", "k"))


async def test_a_master_that_was_frozen_through_a_failover_is_not_read_again(fleet: Fleet) -> None:
    """It thaws within the patience of the link, and goes on answering as if nothing had happened."""
    async with make_manager(fleet, "t", product=PRODUCT) as cache:
        assert await cache.set("product", "k", 1)
        fleet.master.freeze()
        await eventually(
            lambda: fleet.sentinels.master_port() == fleet.replica.port, "the replica takes over", timeout=60
        )
        async with brisk(fleet) as peer:  # nothing of it waits for the old master
            await eventually(lambda: acknowledged(peer), "the other process has found it")
        fleet.master.thaw()
        assert await cache.get("product", "k") is None


async def test_a_server_that_answers_readonly_is_left(fleet: Fleet) -> None:
    """Whoever made it a replica told no sentinel: the link looks again, and finds no master to serve from."""
    async with brisk(fleet) as cache:
        assert await cache.set("product", "k", 1)
        connections = cache.link.connections
        fleet.master.client().replicaof("127.0.0.1", fleet.replica.port)
        await cache.invalidate(Everything())
        await eventually(lambda: cache.link.connections > connections or not cache.link.ready, "it is left")


async def test_sentinels_that_are_away_or_know_nothing_are_told_of(fleet: Fleet) -> None:
    place = fleet.sentinels.processes[0].port
    for url, reason in (
        (f"redis+sentinel://127.0.0.1:{free_port()}/mymaster", "no sentinel says where mymaster is"),
        (f"redis+sentinel://127.0.0.1:{place}/another", "No such master"),
    ):
        link = SentinelLink(url, connect_timeout=5)
        assert not await link.connect()
        with pytest.raises(LinkError, match=reason):
            await link.call("PING")
        await link.close()


async def test_one_sentinel_that_answers_is_enough(fleet: Fleet) -> None:
    for sentinel in fleet.sentinels.processes[:2]:
        sentinel.kill()
    async with make_manager(fleet, "t", product=PRODUCT) as cache:
        assert await cache.set("product", "k", 1)
