"""For sources that lag, an invalidation holds for as long as they take to settle."""

from __future__ import annotations

import pytest

from stoker.core import CacheManager, Key
from stoker.core.keys import Keys
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

LAGGING = {"settle": 60.0}


async def load() -> str:
    return "perhaps from before"


async def fill(cache: CacheManager, how: str, key: str) -> None:
    """Fill a key in one of the ways in which a value is computed."""
    if how == "load":
        await cache.get_or_load("product", key, load)
    elif how == "batch":
        await cache.get_or_load_many("product", [key], load_all)
    elif how == "get and set":
        assert await cache.get("product", key) is None
        await cache.set("product", key, await load())
    elif how == "get many and set":
        assert await cache.get_many("product", [key]) == {}
        await cache.set("product", key, await load())
    else:
        token = await cache.fill("product", key)
        await cache.set("product", key, await load(), token=token)


async def load_all(keys: list[str]) -> dict[str, str]:
    return {key: await load() for key in keys}


async def make_old_log(server: RedisServer, prefix: str) -> None:
    """Make a log that has been there for long: nothing is stored that began to settle before the log did."""
    client, keys = server.client(), Keys(prefix)
    client.xadd(keys.log, {"_reason": "long ago"}, id="1-0")
    async with make_manager(server, prefix):
        epoch, _, floor = client.get(keys.fence).split(b":")
    client.set(keys.fence, b":".join((epoch, b"1-0", floor)))


WAYS = ["load", "batch", "get and set", "get many and set", "token"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"]])
async def test_what_is_loaded_before_the_source_has_settled_is_dead(
    redis_server: RedisServer, prefix: str, how: str, tiers: list[str]
) -> None:
    await make_old_log(redis_server, prefix)
    policy = {**LAGGING, "tiers": tiers}
    async with make_manager(redis_server, prefix, product=policy) as cache:
        await cache.invalidate(Key("product", "1"))
        await fill(cache, how, "1")
        assert await cache.get("product", "1") is None
        await fill(cache, how, "2")
        assert await cache.get("product", "2") == "perhaps from before", "nobody invalidated it"


@pytest.mark.parametrize("how", WAYS)
async def test_on_a_log_in_which_nothing_happens_it_settles_all_the_same(
    redis_server: RedisServer, prefix: str, how: str
) -> None:
    async with make_manager(redis_server, prefix, product={"settle": 0.3}) as cache:
        await cache.invalidate(Key("product", "1"))

        async def lives() -> bool:
            await fill(cache, how, "1")
            return await cache.get("product", "1") is not None

        await eventually(lives, "what is loaded later lives")
