"""Slots of a cluster move to other servers while readers and writers are at work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from stoker.core import CacheManager, Everything, Key
from stoker.core.link.cluster import ClusterLink
from stoker.core.link.routing import Address, slot_of
from tests.clusters import ClusterServers
from tests.freshness import Traffic
from tests.managers import make_manager
from tests.waiting import eventually

KEYS = [str(number) for number in range(40)]


@pytest.fixture
def cluster() -> Iterator[ClusterServers]:
    """Three masters for one test, which moves their slots."""
    servers = ClusterServers(3)
    try:
        yield servers.start()
    finally:
        servers.stop()


def manager(cluster: ClusterServers) -> CacheManager:
    return make_manager(cluster, "t", product={"ttl": 300, "after_rollback": "dead"})


def entry_slot(cache: CacheManager, key: str) -> int:
    return slot_of(cache.keys.entry("product", key))


def entry_slots(cache: CacheManager) -> list[int]:
    """The slots of the keys' entries, without the log's."""
    return sorted({entry_slot(cache, key) for key in KEYS} - {slot_of(cache.keys.log)})


def key_beside_the_log(cache: CacheManager) -> str:
    """A key whose entry is in another slot than the log."""
    return next(key for key in KEYS if entry_slot(cache, key) != slot_of(cache.keys.log))


async def moving(cluster: ClusterServers, slots: list[int], target: int) -> None:
    for slot in slots:
        await asyncio.to_thread(cluster.move, [slot], cluster.masters[target])


async def test_while_slots_move_no_read_fails_and_none_is_stale(cluster: ClusterServers) -> None:
    async with manager(cluster) as cache, manager(cluster) as peer:
        slots = entry_slots(cache)
        epoch = cache.log.epoch
        async with Traffic([cache, peer], KEYS) as traffic:
            for target in (0, 1, 2):
                await moving(cluster, slots, target)
        assert traffic.errors == []
        assert traffic.stale == []
        assert traffic.reads > 500
        assert traffic.acknowledged > 50
        assert traffic.loads < traffic.reads / 2, "most were hits"
        assert cache.log.epoch == epoch


async def test_a_server_that_joins_is_found_and_one_that_gave_all_away_is_left(
    cluster: ClusterServers,
) -> None:
    async with manager(cluster) as cache:
        for key in KEYS:
            assert await cache.set("product", key, key)
        newcomer = await asyncio.to_thread(cluster.add)
        slots = entry_slots(cache)
        await moving(cluster, slots, cluster.masters.index(newcomer))
        assert [await cache.get("product", key) for key in KEYS] == KEYS
        assert len(cache.link.masters) == 4
        newcomer_client = newcomer.client()
        assert newcomer_client.dbsize() == len(KEYS)
        await moving(cluster, slots, 0)
        assert [await cache.get("product", key) for key in KEYS] == KEYS
        await eventually(lambda: len(cache.link.masters) == 3, "the empty server is left")


@pytest.mark.parametrize("carried", [False, True])
async def test_a_key_on_its_way_is_found_where_it_is(cluster: ClusterServers, *, carried: bool) -> None:
    async with manager(cluster) as cache:
        key = next(key for key in KEYS if cluster.owner(entry_slot(cache, key)) is cluster.masters[0])
        assert await cache.set("product", key, 1)
        slot, target = entry_slot(cache, key), cluster.masters[1]
        source = cluster.begin_move(slot, target)
        if carried:
            cluster.move_keys(slot, source, target)
        assert await cache.get("product", key) == 1
        assert (await cache.invalidate(Key("product", key))).acknowledged
        assert await cache.get("product", key) is None
        cluster.move_keys(slot, source, target)
        cluster.end_move(slot, target)
        assert await cache.set("product", key, 2)
        assert await cache.get("product", key) == 2
        assert target.client().exists(cache.keys.entry("product", key))


async def test_a_key_on_its_way_to_a_server_without_slots(cluster: ClusterServers) -> None:
    async with manager(cluster) as cache:
        newcomer = await asyncio.to_thread(cluster.add)
        slot = entry_slot(cache, "7")
        assert await cache.set("product", "7", 1)
        source = cluster.begin_move(slot, newcomer)
        cluster.move_keys(slot, source, newcomer)
        assert await cache.get("product", "7") == 1
        cluster.end_move(slot, newcomer)
        assert await cache.get("product", "7") == 1


async def test_a_read_that_was_sent_on_to_a_silent_server_ends_when_the_cache_is_closed(
    cluster: ClusterServers,
) -> None:
    async with manager(cluster) as cache:
        newcomer = await asyncio.to_thread(cluster.add)
        key = key_beside_the_log(cache)
        slot = entry_slot(cache, key)
        source = cluster.begin_move(slot, newcomer)
        newcomer.freeze()
        read = asyncio.create_task(cache.get("product", key))
        # What is asked after it, on the same connection, is answered: so the server has sent it on.
        stays = next(
            other for other in KEYS if cluster.owner(entry_slot(cache, other)) is source and other != key
        )
        await cache.get("product", stays)
        await cache.close()
        assert await asyncio.wait_for(read, 10) is None
        newcomer.thaw()


async def test_a_slot_that_has_moved_to_a_new_server_is_reached_before_all_have_heard_of_it(
    cluster: ClusterServers,
) -> None:
    async with manager(cluster) as cache:
        newcomer = await asyncio.to_thread(cluster.add)
        key = key_beside_the_log(cache)
        slot, link, asked = entry_slot(cache, key), cache.link, 0
        assert isinstance(link, ClusterLink)
        read_map = link._ask_for_map
        known = await read_map()

        async def from_who_has_not_heard() -> list[Address | None]:
            nonlocal asked
            asked += 1
            return list(known) if asked == 1 else await read_map()

        link._ask_for_map = from_who_has_not_heard  # type: ignore[method-assign]
        source = await asyncio.to_thread(cluster.begin_move, slot, newcomer)
        for server in (newcomer, source):
            server.client().execute_command("CLUSTER", "SETSLOT", slot, "NODE", cluster.ids[newcomer])
        assert await cache.set("product", key, 1)
        assert asked > 0
        assert await cache.get("product", key) == 1


async def test_when_the_log_moves_its_new_server_opens_an_epoch(cluster: ClusterServers) -> None:
    """Its epoch was opened under the run id of another server: what the new one may yet lose is not known."""
    async with manager(cluster) as cache, manager(cluster) as peer:
        before, slot = cache.log.epoch, slot_of(cache.keys.log)
        target = next(server for server in cluster.masters if server is not cluster.owner(slot))
        async with Traffic([cache, peer], KEYS) as traffic:
            source = await asyncio.to_thread(cluster.begin_move, slot, target)
            await asyncio.to_thread(cluster.move_keys, slot, source, target)
            await eventually(
                lambda: cache.log.epoch == peer.log.epoch not in {0, before},
                "the log is followed while it is on its way",
            )
            during = cache.log.epoch
            acknowledged = traffic.acknowledged
            await eventually(
                lambda: traffic.acknowledged > acknowledged + 5, "invalidations are acknowledged"
            )
            await asyncio.to_thread(cluster.end_move, slot, target)
            acknowledged = traffic.acknowledged
            await eventually(lambda: traffic.acknowledged > acknowledged + 5, "and still are")
        assert traffic.errors == []
        assert traffic.stale == []
        assert cache.log.epoch == peer.log.epoch == during, "the server is the same"
        assert (await cache.invalidate(Everything())).acknowledged


async def test_a_caller_that_gives_up_while_a_slot_moves_costs_the_others_nothing(
    cluster: ClusterServers,
) -> None:
    async with manager(cluster) as cache:
        log_owner = cluster.owner(slot_of(cache.keys.log))
        away = [key for key in KEYS if cluster.owner(entry_slot(cache, key)) is not log_owner]
        first = away[0]
        second = next(key for key in away if entry_slot(cache, key) != entry_slot(cache, first))
        assert await cache.set("product", second, 7)
        new = await asyncio.to_thread(cluster.add)
        await asyncio.to_thread(cluster.move, [entry_slot(cache, first)], new)
        new.freeze()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cache.get("product", first), 0.05)
        new.thaw()
        owner = cluster.owner(entry_slot(cache, second))
        target = next(at for at, one in enumerate(cluster.masters) if one is not new and one is not owner)
        await moving(cluster, [entry_slot(cache, second)], target)

        async def found() -> bool:
            return bool(await asyncio.wait_for(cache.get("product", second), 20) == 7)

        await eventually(found, "the entry in its new place")
        assert await asyncio.wait_for(cache.get("product", first), 20) is None
