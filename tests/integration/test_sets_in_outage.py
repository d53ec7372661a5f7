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
        assert await one.get("page", "beside") is None
        assert not one.link.ready
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
