"""Set-if-absent, as a lock: of all who try, whoever was told that it is theirs is the only one."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager, Key
from stoker.core.entries.lookup import State
from tests.clusters import ClusterServers
from tests.managers import Reached, make_manager
from tests.servers import RedisServer
from tests.sources import until_state
from tests.waiting import eventually

TIERS = pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"]])
KINDS = pytest.mark.parametrize("kind", ["authoritative", "derived"])
BRIEF = 0.05


def manager(server: Reached, prefix: str, **policy: Any) -> CacheManager:
    return make_manager(server, prefix, lock={"ttl": 60, "kind": "authoritative", **policy})


async def how_many_get(key: str, *caches: CacheManager) -> int:
    """Ten try at once, in turns: how many are told that it is theirs."""
    tries = (caches[at % len(caches)].set("lock", key, at, if_absent=True) for at in range(10))
    return sum(await asyncio.gather(*tries))


@TIERS
@KINDS
async def test_what_has_expired_and_is_kept_for_its_stale_window_is_created_once(
    redis_server: RedisServer, prefix: str, tiers: list[str], kind: str
) -> None:
    policy: dict[str, Any] = {"stale": 3600, "kind": kind, "tiers": tiers}
    async with manager(redis_server, prefix, **policy) as one, manager(redis_server, prefix, **policy) as two:
        for key in map(str, range(5)):
            assert await one.set("lock", key, "first", ttl=BRIEF, if_absent=True)
            await until_state(two, "lock", key, State.STALE)
            assert await how_many_get(key, one, two) == 1
            assert await how_many_get(key, one, two) == 0


async def test_on_a_cluster_too(cluster: ClusterServers, cluster_prefix: str) -> None:
    async with (
        manager(cluster, cluster_prefix, stale=3600) as one,
        manager(cluster, cluster_prefix, stale=3600) as two,
    ):
        assert await one.set("lock", "k", "first", ttl=BRIEF, if_absent=True)
        await until_state(two, "lock", "k", State.STALE)
        assert await how_many_get("k", one, two) == 1
        assert await how_many_get("k", one, two) == 0


async def test_whoever_s_clock_is_ahead_takes_nothing_that_the_server_holds_to_be_fresh(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    async with manager(redis_server, prefix) as one, manager(redis_server, prefix) as two:
        assert await one.set("lock", "k", "first", if_absent=True)
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda: real() + 61)
            clock.setattr("stoker.core.entries.tier.time", lambda: real() + 61)
            assert await how_many_get("k", one, two) == 0
            await one.delete("lock", "k")
            assert await how_many_get("k", one, two) == 1
        assert await how_many_get("k", one, two) == 0


async def test_what_was_invalidated_is_created_once_although_it_has_not_expired(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as one, manager(redis_server, prefix) as two:
        for _ in range(5):
            await two.invalidate(Key("lock", "k"))
            assert await how_many_get("k", one, two) == 1


async def test_a_full_server_gives_it_to_nobody(own_redis_server: RedisServer) -> None:
    client, both = own_redis_server.client(), {"tiers": ["memory", "redis"]}
    async with manager(own_redis_server, "p", **both) as one, manager(own_redis_server, "p", **both) as two:
        await asyncio.gather(one.get("lock", "k"), two.get("lock", "k"))
        client.config_set("maxmemory", "1")
        assert await how_many_get("k", one, two) == 0
        assert [await one.get("lock", "k"), await two.get("lock", "k")] == [None, None]
        assert one.counters.of("lock").sets == 0
        assert one.counters.of("lock").sets_refused == 5
        client.config_set("maxmemory", "0")
        assert await how_many_get("k", one, two) == 1


async def test_a_server_that_answers_no_writes_gives_it_to_nobody_before_it_does(
    own_redis_server: RedisServer,
) -> None:
    config = CacheConfig.model_validate(
        {
            "redis": {"url": own_redis_server.url, "timeout": 0.3},
            "types": {"lock": {"ttl": 60, "kind": "authoritative", "tiers": ["memory", "redis"]}},
        }
    )
    async with CacheManager(config) as one, CacheManager(config) as two:
        await asyncio.gather(one.get("lock", "k"), two.get("lock", "k"))
        client = own_redis_server.client()
        client.client_pause(60_000, all=False)  # as a failover does
        assert await how_many_get("k", one, two) == 0
        client.client_unpause()

        async def is_settled() -> bool:
            """One of the writes may have come through after all: nobody was told, and so nobody has it."""
            await how_many_get("k", one, two)
            found = {await cache.get("lock", "k") for cache in (one, two)}
            return len(found) == 1 and None not in found

        await eventually(is_settled, "the server takes writes again, from both, who see the same")
        assert await how_many_get("k", one, two) == 0


@TIERS
async def test_set_if_absent_is_stamped_with_its_token_and_with_no_miss(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, kind="derived", tiers=tiers) as cache:
        token = await cache.fill("lock", "k")
        await cache.invalidate(Key("lock", "k"))
        assert not await cache.set("lock", "k", "old", if_absent=True, token=token)
        assert await cache.get("lock", "k") is None
        await cache.invalidate(Key("lock", "k"))
        assert await cache.set("lock", "k", "new", if_absent=True)
        assert await cache.get("lock", "k") == "new"


async def test_set_if_absent_replaces_what_nobody_can_read(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, kind="derived") as cache:
        client = redis_server.client()
        name = cache.keys.entry("lock", "k")
        await cache.set("lock", "k", "v")
        other_version = b"SK\x09" + client.get(name)[3:]
        for there in (b"no entry", other_version, None):
            client.delete(name)
            if there is None:
                client.rpush(name, "a list")
            else:
                client.set(name, there)
            before = cache.counters.of("lock").undecodable
            assert await cache.set("lock", "k", "new", if_absent=True)
            assert cache.counters.of("lock").undecodable == before + 1
            assert await cache.get("lock", "k") == "new"


@TIERS
async def test_a_lock_has_one_holder_whoever_looked_before(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with (
        manager(redis_server, prefix, kind="derived", tiers=tiers) as one,
        manager(redis_server, prefix, kind="derived", tiers=tiers) as two,
        manager(redis_server, prefix, kind="derived", tiers=tiers) as three,
    ):
        assert await one.get("lock", "lock") is None
        assert await two.set("lock", "lock", "two", if_absent=True)
        await two.delete("lock", "lock")
        assert await one.set("lock", "lock", "one", if_absent=True)
        assert not await three.set("lock", "lock", "three", if_absent=True)
        assert await three.get("lock", "lock") == "one"
