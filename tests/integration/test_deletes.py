"""Deletes of any size, whose caller may give up: what they name goes, and nothing that came after."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager
from stoker.core.log.appending import MAX_RECORD_SCOPES
from tests.managers import make_manager
from tests.proxies import Proxy
from tests.servers import RedisServer
from tests.waiting import eventually

SOURCE: dict[str, Any] = {"ttl": 600, "kind": "authoritative"}


async def delete(cache: CacheManager, how: str) -> None:
    if how == "delete":
        await cache.delete("db_query", "k")
    else:
        await cache.delete_many("db_query", ["k", "beside"])


@pytest.mark.parametrize("how", ["delete", "delete_many"])
@pytest.mark.parametrize("turns", range(7))
async def test_who_gives_up_has_deleted_all_the_same(
    redis_server: RedisServer, prefix: str, how: str, turns: int
) -> None:
    """After no turn: under a deadline that has passed already."""
    one, other = (make_manager(redis_server, prefix) for _ in range(2))
    async with one, other:
        assert await one.set("db_query", "k", "old")
        await one.increment("db_query", "k")
        if turns:
            caller = asyncio.create_task(delete(one, how))
            for _ in range(turns):
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await delete(one, how)

        async def has_gone() -> bool:
            return await other.get("db_query", "k") is None and await other.counter("db_query", "k") is None

        await eventually(has_gone, "it is invalidated", timeout=5)
        name = one.keys.entry("db_query", "k")
        await eventually(
            lambda: not redis_server.client().exists(name), "its memory is given back", timeout=5
        )


@pytest.mark.parametrize("how", ["delete", "delete_many"])
async def test_without_a_server_too(how: str) -> None:
    async with CacheManager(CacheConfig.model_validate({"redis": {"enabled": False}})) as cache:
        assert await cache.set("db_query", "k", "old")
        await cache.increment("db_query", "k")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await delete(cache, how)
        assert await cache.get("db_query", "k") is None
        assert await cache.counter("db_query", "k") is None


async def test_a_delete_takes_nothing_that_is_of_another_epoch(
    redis_server: RedisServer, prefix: str
) -> None:
    """Of a server whose clock was set back, a younger epoch has lower positions."""
    async with make_manager(redis_server, prefix) as cache:
        name, client = cache.keys.entry("db_query", "k"), redis_server.client()
        assert await cache.set("db_query", "k", 1)
        client.setrange(name, 4, bytes(8))
        assert await cache.delete("db_query", "k") == 0
        assert client.exists(name)
        assert await cache.get("db_query", "k") is None


async def test_a_large_delete_leaves_what_is_created_while_it_goes_on(
    redis_server: RedisServer, prefix: str
) -> None:
    keys = [f"k{number}" for number in range(3 * MAX_RECORD_SCOPES)]
    async with (
        Proxy(redis_server) as proxy,
        make_manager(redis_server, prefix, page=SOURCE) as peer,
        make_manager(proxy, prefix, page=SOURCE) as cache,
    ):
        assert await peer.set_many("page", dict.fromkeys(keys, "old")) == len(keys)
        for key in (keys[0], keys[-1]):
            assert await peer.increment("page", key, 3) == 3
        proxy.up.hold(f"page:{keys[-1]}".encode())
        deleting = asyncio.create_task(cache.delete_many("page", keys))
        await proxy.up.holding.wait()
        assert await peer.get("page", keys[0]) is None, "its record stands"
        assert await peer.set("page", keys[0], "new")
        assert await peer.increment("page", keys[0]) == 1
        assert await peer.get("page", keys[-1]) == "old", "its record does not"
        proxy.up.release()
        assert await deleting == len(keys) - 1 + 2, "entries, and counters"
        assert await peer.get_many("page", keys) == {keys[0]: "new"}
        assert await peer.counter("page", keys[0]) == 1
        assert await peer.counter("page", keys[-1]) is None


@pytest.mark.parametrize("stored", [b"", b"x", b"SK", bytes(200)])
async def test_what_is_no_entry_goes_with_its_key(
    redis_server: RedisServer, prefix: str, stored: bytes
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        name = cache.keys.entry("db_query", "k")
        redis_server.client().set(name, stored, ex=60)
        assert await cache.delete("db_query", "k") == (1 if stored else 0)


async def test_of_a_type_in_memory_alone_no_entry_is_looked_for(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": ["memory"]}) as cache:
        await cache.set("page", "k", 1)
        await cache.increment("page", "k")
        client = redis_server.client()
        client.config_resetstat()
        assert await cache.delete("page", "k") == 2
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert used & {"getrange", "evalsha", "eval", "get"} == set()
        assert await cache.get("page", "k") is None
