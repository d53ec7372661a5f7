"""Values that callers set while the server is away: once it is back, all processes have the same."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.core import CacheManager
from tests.managers import Reached, make_config
from tests.proxies import Proxy
from tests.servers import RedisServer
from tests.waiting import eventually

NEAR: dict[str, Any] = {"ttl": 600, "tiers": ["memory", "redis"]}
SOURCE: dict[str, Any] = {**NEAR, "kind": "authoritative"}


def make(server: Reached, policy: dict[str, Any], prefix: str = "p") -> CacheManager:
    config = make_config(server, prefix, page=policy)
    hurried = config.redis.model_copy(update={"timeout": 0.5})
    return CacheManager(config.model_copy(update={"redis": hurried}), recording=False)


async def is_away(cache: CacheManager) -> None:
    """Have it noticed that the server is frozen."""
    assert await cache.get("page", "beside") is None
    assert not cache.link.ready


async def both_have(one: CacheManager, other: CacheManager, value: str | None) -> None:
    """Wait until the server is back, all is appended, and hits in memory are as young as is promised."""
    await eventually(lambda: one.link.ready and other.link.ready, "the server is back")
    await eventually(lambda: one.log.kept.empty, "what was kept is appended")
    for cache in (one, other):
        assert await cache.log.catch_up()
    assert [await cache.get("page", "k") for cache in (one, other)] == [value, value]
    assert [await cache.get("page", "k") for cache in (one, other)] == [value, value], "from memory, too"


@pytest.mark.parametrize(
    ("policy", "meanwhile"),
    [
        (SOURCE, None),
        ({**SOURCE, "on_outage": 60}, "old"),
        ({**NEAR, "on_outage": "bypass"}, None),
        (NEAR, "new"),
    ],
    ids=["authoritative", "authoritative-served", "bypass", "derived"],
)
async def test_what_is_set_with_a_token_does_not_split_the_fleet(
    own_redis_server: RedisServer, policy: dict[str, Any], meanwhile: str | None
) -> None:
    async with make(own_redis_server, policy) as one, make(own_redis_server, policy) as other:
        assert await one.set("page", "k", "old")
        await both_have(one, other, "old")
        token = await one.fill("page", "k")
        own_redis_server.freeze()
        await is_away(one)
        assert await one.set("page", "k", "new", token=token) is (meanwhile == "new")

        async def is_served() -> bool:
            return bool(await one.get("page", "k") == meanwhile)

        await eventually(is_served, "memory serves as the type says")
        own_redis_server.thaw()
        await both_have(one, other, "old")


@pytest.mark.parametrize("policy", [SOURCE, NEAR], ids=["authoritative", "derived"])
@pytest.mark.parametrize("how", ["token", "if_absent", "many"])
async def test_what_the_server_takes_without_an_answer_is_told(
    redis_server: RedisServer, prefix: str, policy: dict[str, Any], how: str
) -> None:
    """It comes to the server when the caller was told long ago that it is not known to be stored."""
    async with (
        Proxy(redis_server) as proxy,
        make(redis_server, policy, prefix) as other,
        make(proxy, policy, prefix) as one,
    ):
        token = await one.fill("page", "k")
        if how == "many":
            assert await one.get("page", "k") is None
        if how != "if_absent":
            assert await other.get_or_load("page", "k", _old) == await other.get("page", "k") == "old"
        proxy.up.hold(b"new")
        kept = policy is NEAR and how != "if_absent"
        if how == "many":
            assert bool(await one.set_many("page", {"k": "new"})) is kept
        elif how == "token":
            assert await one.set("page", "k", "new", token=token) is kept
        else:
            assert await one.set("page", "k", "new", if_absent=True) is kept
        assert await one.get("page", "k") == ("new" if kept else None), "while the server is away"
        assert proxy.up.holding.is_set()
        proxy.up.release()
        await both_have(one, other, "new")


async def _old() -> str:
    return "old"


async def test_what_the_server_never_gets_is_nowhere(redis_server: RedisServer, prefix: str) -> None:
    """The record has told all, and ended what was there; this process knows no more than others."""
    async with (
        Proxy(redis_server) as proxy,
        make(redis_server, SOURCE, prefix) as other,
        make(proxy, SOURCE, prefix) as one,
    ):
        assert await one.set("page", "k", "old")
        await both_have(one, other, "old")
        proxy.up.hold(b"new")
        assert not await one.set("page", "k", "new")
        assert proxy.up.holding.is_set()
        proxy.up.drop()
        await both_have(one, other, None)


async def test_what_stood_in_does_not_keep_what_the_server_has_out_of_memory(
    own_redis_server: RedisServer,
) -> None:
    policy = {**NEAR, "memory_bound": 60}
    async with make(own_redis_server, policy) as one, make(own_redis_server, policy) as other:
        assert await one.set("page", "k", "old")
        await both_have(one, other, "old")
        await one.invalidate_tags("unrelated")
        token = await one.fill("page", "k")  # born later than what the server has
        own_redis_server.freeze()
        await is_away(one)
        assert await one.set("page", "k", "new", token=token)
        assert await one.get("page", "k") == "new"
        own_redis_server.thaw()
        await both_have(one, other, "old")
        counters = one.counters.of("page")
        before = counters.memory_hits
        assert [await one.get("page", "k") for _ in range(5)] == ["old"] * 5
        assert counters.memory_hits == before + 5
        own_redis_server.freeze()
        await is_away(one)
        assert await one.get("page", "k") == "old"
        own_redis_server.thaw()


async def test_what_stood_in_is_not_served_in_the_next_outage(own_redis_server: RedisServer) -> None:
    """Nobody asked for it while the server was back; but others may have overwritten it."""
    async with make(own_redis_server, NEAR) as one:
        token = await one.fill("page", "k")
        own_redis_server.freeze()
        await is_away(one)
        assert await one.set("page", "k", "new", token=token)
        assert await one.get("page", "k") == "new"
        own_redis_server.thaw()
        await eventually(lambda: one.link.ready, "the server is back")
        assert await one.log.catch_up()
        own_redis_server.freeze()
        await is_away(one)
        assert await one.get("page", "k") is None
        own_redis_server.thaw()


async def test_nothing_stands_in_once_memory_serves_no_longer(own_redis_server: RedisServer) -> None:
    async with make(own_redis_server, {**NEAR, "on_outage": 0.1}) as one:
        token = await one.fill("page", "k")
        own_redis_server.freeze()
        await is_away(one)  # noticed after a longer time than that
        assert not await one.set("page", "k", "new", token=token)
        assert await one.get("page", "k") is None
        own_redis_server.thaw()


async def test_nothing_stands_in_that_was_born_on_another_log(own_redis_server: RedisServer) -> None:
    async with make(own_redis_server, NEAR) as one:
        token = await one.fill("page", "k")
        for starts_again in (True, False):
            own_redis_server.client().save()
            own_redis_server.kill()
            await eventually(lambda: not one.link.ready, "the server is away")
            if starts_again:
                own_redis_server.start()
                await eventually(lambda: one.link.ready and one.log.epoch, "it is back, from a snapshot")
        assert one.log.last_epoch != token.epoch
        assert not await one.set("page", "k", "new", token=token)
        assert await one.get("page", "k") is None


async def test_what_the_server_refuses_is_refused(own_redis_server: RedisServer) -> None:
    """It is there, and has what it had; what a loader has made is as good as ever."""
    loads = 0

    async def load() -> str:
        nonlocal loads
        loads += 1
        return "loaded"

    async with make(own_redis_server, {**NEAR, "memory_bound": 60}) as one:
        assert await one.set("page", "k", "old")
        assert await one.get("page", "k") == "old"
        token = await one.fill("page", "k")
        assert await one.get_many("page", ["a", "b"]) == {}
        own_redis_server.client().replicaof("127.0.0.1", "1")
        counters = one.counters.of("page")
        refused, hits = counters.sets_refused, counters.memory_hits
        assert not await one.set("page", "k", "new", token=token)
        assert await one.get("page", "k") == "old"
        assert counters.memory_hits == hits + 1, "its copy in memory stays"
        assert not await one.set("page", "a", "new")
        assert await one.set_many("page", {"b": "new"}) == 0
        assert await one.get_many("page", ["a", "b"]) == {}
        assert counters.sets_refused == refused + 3
        for _ in range(3):
            assert await one.get_or_load("page", "loaded", load) == "loaded"
        assert loads == 1
        assert one.link.ready


async def test_what_the_server_forbids_is_refused_though_it_was_told(own_redis_server: RedisServer) -> None:
    async with make(own_redis_server, NEAR) as one:
        own_redis_server.client().acl_setuser("default", commands=["-set"])
        assert not await one.set("page", "k", "new")
        assert await one.get("page", "k") is None
        assert await one.set_many("page", {"k": "new"}) == 0
        assert await one.get("page", "k") is None


@pytest.mark.parametrize("kind", ["derived", "authoritative"])
async def test_what_is_loaded_meanwhile_is_loaded_once(own_redis_server: RedisServer, kind: str) -> None:
    loads = 0

    async def load() -> str:
        nonlocal loads
        loads += 1
        return "loaded"

    async with make(own_redis_server, {**NEAR, "kind": kind, "on_outage": 60}) as one:
        own_redis_server.freeze()
        await is_away(one)
        for _ in range(5):
            assert await one.get_or_load("page", "k", load) == "loaded"
        assert loads == 1
        own_redis_server.thaw()
