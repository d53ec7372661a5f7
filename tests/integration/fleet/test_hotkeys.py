"""Hot keys are counted in each process and ranked over all of them."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from typing import Any

import pytest

from stoker.core import Recipe, UsageError, loader
from stoker.core.errors import LinkError
from stoker.core.warming.buckets import Buckets
from stoker.core.warming.hotkeys import BUCKET_MEMBERS, HotKeys, hottest_keys, ranking
from tests.integration.fleet.caches import flush_hot, make_cache, make_config
from tests.servers import RedisServer
from tests.waiting import eventually

PRODUCT = {"product": {"ttl": 60, "warm": {"keys": 100}}}


@loader("hotkeys.double", cache_type="product")
async def double(number: int) -> int:
    return 2 * number


@loader("hotkeys.anything", cache_type="product")
async def anything(what: object) -> str:
    return str(what)


async def test_the_ranking_adds_up_what_all_processes_read(redis_server: RedisServer, prefix: str) -> None:
    async with (
        make_cache(redis_server, prefix, **PRODUCT) as one,
        make_cache(redis_server, prefix, **PRODUCT) as two,
    ):
        for _ in range(3):
            await one.get_or_load("product", "1", double, 1)
            await two.get_or_load("product", "1", double, 1)
        await two.get_or_load("product", "2", double, 2)
        await one.get("product", "3")
        await flush_hot(one)
        await flush_hot(two)
        found = await ranking(one, "product", 10)
        assert [item.key for item in found] == ["1", "2", "3"]
        assert found[0].recipe == Recipe("hotkeys.double", (1,))
        assert found[2].recipe is None
        assert found[0].rate == pytest.approx(6 * found[1].rate)
        assert [item.key for item in await ranking(one, "product", 1)] == ["1"]


async def test_nothing_is_counted_twice(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        hot = HotKeys(cache)
        for _ in range(3):
            cache.access.append(("product", "k", None))
            await hot.flush()
        await hot.flush()
        bucket = Buckets.of(cache.policy("product")).start(time.time())
        scores = [
            await cache.link.call("ZSCORE", cache.keys.hot("product", start), "k")
            for start in (bucket, bucket - Buckets.of(cache.policy("product")).width)
        ]
        assert sum(float(score or 0) for score in scores) == 3


async def test_a_bucket_and_the_recipes_are_bounded(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        hot = HotKeys(cache)
        for number in range(3 * BUCKET_MEMBERS):
            cache.access.append(("product", str(number), Recipe("hotkeys.double", (number,))))
            if number % 500 == 499:
                await hot.flush()
        starts = Buckets.of(cache.policy("product")).starts(time.time())
        sizes = [await cache.link.call("ZCARD", cache.keys.hot("product", start)) for start in starts]
        assert 0 < max(sizes) <= BUCKET_MEMBERS
        assert 0 < await cache.link.call("HLEN", cache.keys.recipe("product")) <= 200


async def test_a_key_whose_arguments_cannot_be_kept_is_ranked_without_recipe(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        await cache.get_or_load("product", "odd", anything, object())
        await flush_hot(cache)
        [found] = await ranking(cache, "product", 10)
        assert found.key == "odd"
        assert found.recipe is None


class Truthless:
    """What comparing arrays gives: it is neither true nor false."""

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array with more than one element is ambiguous")


class Array:
    """As arrays of numpy, and frames of pandas."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Any:
        return Truthless()


async def test_arguments_that_can_not_be_compared_hold_nothing_up(
    redis_server: RedisServer, prefix: str
) -> None:
    from stoker.core import CacheManager

    config = make_config(redis_server, prefix, other={"ttl": 86400}, **PRODUCT)
    async with CacheManager(config) as cache:
        for _ in range(2):
            await cache.get_or_load("product", "odd", anything, Array())
            await cache.get_or_load("product", "listed", anything, [Array()])
            await cache.get("other", "k")

            async def counted() -> bool:
                return not cache.access and bool(await hottest_keys(cache, "other", 1))

            await eventually(counted, "the other type's reads are counted")
    async with make_cache(redis_server, prefix, other={"ttl": 86400}, **PRODUCT) as cache:
        assert {heat.key for heat in await hottest_keys(cache, "product", 9)} == {"odd", "listed"}


async def test_a_fault_of_one_type_does_not_stop_the_others_nor_the_end(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_cache(redis_server, prefix, odd={"ttl": 86400}, **PRODUCT) as cache:
        nonsense: Any = object()
        hot = HotKeys(cache)
        await hot.start()
        cache.access.append(("odd", nonsense, None))
        cache.access.append(("product", "k", None))
        await hot.stop()
        assert hot.flush_failures == 1
        assert len([record for record in caplog.records if "hotkeys_refused" in record.message]) == 1
        assert [heat.key for heat in await hottest_keys(cache, "product", 1)] == ["k"]


async def test_arguments_that_will_not_be_stored_are_held_no_longer_than_their_call(
    redis_server: RedisServer, prefix: str
) -> None:
    types = {**PRODUCT, "cold": {"ttl": 60, "warm": {"mode": "none"}}}
    async with make_cache(redis_server, prefix, **types) as cache:
        hot = HotKeys(cache)
        session, recording, text = Truthless(), b"\0" * 10_000, "the text of " + prefix
        seen, held = weakref.ref(session), (sys.getrefcount(recording), sys.getrefcount(text))

        await cache.get_or_load("product", "1", anything, session)
        await cache.get_or_load("product", "2", anything, recording)
        await cache.get_or_load("product", "3", anything, [[recording], {"at": recording}])
        await cache.get_or_load("cold", "4", anything, text)
        await hot.flush()

        del session
        gc.collect()
        assert seen() is None
        assert (sys.getrefcount(recording), sys.getrefcount(text)) == held
        found = {item.key: item.recipe for item in await ranking(cache, "product", 10)}
        assert found == {"1": None, "2": None, "3": None}


async def test_a_recipe_of_another_version_is_none(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        await cache.get_or_load("product", "1", double, 1)
        await flush_hot(cache)
        await cache.link.call("HSET", cache.keys.recipe("product"), "1", b"\xc1 no MessagePack")
        [found] = await ranking(cache, "product", 10)
        assert found.recipe is None


async def test_types_that_nobody_configured_are_not_counted(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **PRODUCT) as cache:
        cache.access.append(("unheard_of", "k", None))
        await flush_hot(cache)
        assert await cache.link.call("KEYS", f"{prefix}:hot:*") == []
        with pytest.raises(UsageError, match="unheard_of"):
            await hottest_keys(cache, "unheard_of", 1)


async def test_one_type_whose_key_is_of_another_kind_does_not_stop_the_others(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_cache(redis_server, prefix, broken={"ttl": 86400}, **PRODUCT) as cache:
        bucket = Buckets.of(cache.policy("broken")).start(time.time())
        await cache.link.call("SET", cache.keys.hot("broken", bucket), "a string", "EX", 60)
        cache.access.append(("broken", "k", None))
        cache.access.append(("product", "k", None))
        hot = HotKeys(cache)
        await hot.flush()
        cache.access.append(("broken", "k", None))
        await hot.flush()
        assert hot.flush_failures == 2
        assert len([record for record in caplog.records if "hotkeys_refused" in record.message]) == 1
        assert [heat.key for heat in await hottest_keys(cache, "product", 1)] == ["k"]


async def test_the_manager_shares_its_reads_by_itself(redis_server: RedisServer, prefix: str) -> None:
    from stoker.core import CacheManager

    async with CacheManager(make_config(redis_server, prefix, **PRODUCT)) as cache:
        await cache.get_or_load("product", "1", double, 1)

        async def ranked() -> bool:
            return bool(await ranking(cache, "product", 1))

        await eventually(ranked, "the read is in the ranking")
        await cache.get_or_load("product", "2", double, 2)
    async with make_cache(redis_server, prefix, **PRODUCT) as other:
        assert {item.key for item in await ranking(other, "product", 9)} == {"1", "2"}


async def test_counts_wait_for_a_server_that_is_away(own_redis_server: RedisServer) -> None:
    async with make_cache(own_redis_server, "outage", **PRODUCT) as cache:
        hot = HotKeys(cache)
        cache.access.append(("product", "k", None))
        own_redis_server.kill()
        with pytest.raises(LinkError):
            await hot.flush()
        own_redis_server.start()
        await cache.link.wait_ready()
        await hot.flush()
        assert [heat.key for heat in await hottest_keys(cache, "product", 1)] == ["k"]


async def test_counting_outlives_a_fault_and_an_outage(own_redis_server: RedisServer) -> None:
    async with make_cache(own_redis_server, "fault", **PRODUCT) as cache:
        hot = HotKeys(cache, flush_every=0.01)
        await hot.start()
        await hot.start()
        nonsense: Any = "no access"
        cache.access.append(nonsense)
        await eventually(lambda: hot.flush_failures, "the fault is counted")
        own_redis_server.kill()
        failures = hot.flush_failures
        cache.access.append(("product", "k", None))
        await eventually(lambda: hot.flush_failures > failures, "the outage is counted")
        own_redis_server.start()
        await cache.link.wait_ready()

        async def ranked() -> bool:
            return bool(await hottest_keys(cache, "product", 1))

        await eventually(ranked, "the count has arrived")
        sketch = hot.sketch("product")
        assert sketch is not None
        assert sketch.count("k") == 1
        await hot.stop()
        await hot.stop()
