"""A log that was lost begins a new epoch; older entries are served while they are loaded again at most."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core import Key, Tag
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.sources import Source
from tests.waiting import eventually


@pytest.mark.parametrize("loss", ["log", "log and fence", "all", "made anew by a stranger"])
async def test_a_lost_log_is_a_new_epoch(redis_server: RedisServer, prefix: str, loss: str) -> None:
    source = Source()
    client = redis_server.client()
    policy = {"after_rollback": "dead"}
    async with (
        make_manager(redis_server, prefix, product=policy) as cache,
        make_manager(redis_server, prefix, product=policy) as peer,
    ):
        assert await cache.get_or_load("product", "1", source.load) == 1
        assert await peer.get("product", "1") == 1
        source.value = 2
        await peer.invalidate(Key("product", "1"))
        if loss == "all":
            for key in client.scan_iter(match=f"{prefix}:*"):
                client.delete(key)
        else:
            client.delete(cache.keys.log)
        if loss == "log and fence":
            client.delete(cache.keys.fence)
        if loss == "made anew by a stranger":
            client.xadd(cache.keys.log, {"tag": "whatever"})
        assert await cache.get("product", "1") is None
        assert await cache.get_or_load("product", "1", source.load) == 2
        assert await peer.get("product", "1") == 2, "both agree on the new epoch"
        assert cache.log.epochs_opened + peer.log.epochs_opened >= 2


async def test_entries_of_an_older_epoch_are_served_only_while_they_are_loaded_again(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    async with make_manager(redis_server, prefix, product={}) as cache:
        assert await cache.get_or_load("product", "1", source.load) == 1
        assert await cache.get_or_load("product", "2", source.load) == 1
        redis_server.client().delete(cache.keys.log)
        source.value = 2
        assert await cache.get("product", "1") is None, "nothing loads it again"
        assert await cache.get_or_load("product", "1", source.load) == 1
        await eventually(lambda: source.loads == 3, "a load behind")
        await cache.invalidate(Key("product", "2"))
        assert await cache.get_or_load("product", "2", source.load) == 2, "invalidated in the new epoch"


async def test_a_load_that_began_in_an_older_epoch_is_not_stored(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    async with make_manager(redis_server, prefix) as cache:
        source.gate.clear()
        task = asyncio.create_task(cache.get_or_load("db_query", "k", source.load))
        await source.reading.wait()
        redis_server.client().delete(cache.keys.log)
        await cache.invalidate(Tag("opens the new epoch"))
        source.gate.set()
        assert await task == 1
        assert cache.counters.of("db_query").sets_refused == 1
        assert not redis_server.client().exists(cache.keys.entry("db_query", "k"))


async def test_a_lost_fence_and_a_strangers_epoch_change_nothing(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as peer:
        assert await cache.set("db_query", "k", 1)
        await cache.invalidate(Key("db_query", "k"))
        for damage in ("fence", "epoch", "nonsense"):
            if damage == "fence":
                client.delete(cache.keys.fence)
            else:
                client.xadd(cache.keys.log, {"epoch": "dead" if damage == "epoch" else "zz"})
            await cache.set("db_query", "x", 1)

            async def stores() -> bool:
                return await cache.set("db_query", "other", 2) and await peer.get("db_query", "other") == 2

            await eventually(stores, f"{damage}: both agree again")
            for reader in (cache, peer):
                assert await reader.get_or_load("db_query", "k", three) == 3
            await cache.invalidate(Key("db_query", "k"))


async def three() -> int:
    return 3
