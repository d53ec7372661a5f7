"""Hot keys are loaded again before they expire, within the budget, and never twice at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest

from stoker.core import CacheManager, Recipe, UsageError, loader
from stoker.core.warming.hotkeys import HotKeys
from stoker.core.warming.pauses import pause, paused, resume
from stoker.core.warming.runs import recent_runs, totals
from stoker.core.warming.warming import FAILURES_IN_A_ROW, warm
from tests.integration.fleet.caches import ALWAYS_DUE, flush_hot, make_cache
from tests.servers import RedisServer
from tests.waiting import eventually

DUE = {"product": {"ttl": 60, "warm": ALWAYS_DUE}}

loads: Counter[int] = Counter()


@loader("warming.number", cache_type="product", tags=lambda _: ["numbers"])
async def number(n: int) -> int:
    loads[n] += 1
    return loads[n]


@loader("warming.broken", cache_type="product")
async def broken(n: int) -> int:
    raise ConnectionRefusedError(f"no source for {n}")


@loader("warming.gives_up", cache_type="product")
async def gives_up(n: int) -> int:
    raise asyncio.CancelledError(n)


async def read(cache: CacheManager, *numbers: int) -> None:
    """Read numbers through the cache and share that they were read."""
    for n in numbers:
        await cache.get_or_load("product", f"n{n}", number, n)
    await flush_hot(cache)


def ask_for(cache: CacheManager, name: str, keys: range) -> None:
    """Make keys hot without loading them."""
    cache.access.extend(("product", f"{name}{n}", Recipe(name, (n,))) for n in keys)


async def test_hot_keys_are_loaded_again(redis_server: RedisServer, prefix: str) -> None:
    loads.clear()
    async with make_cache(redis_server, prefix, **DUE) as cache:
        await read(cache, 1, 2)
        run = await warm(cache, "product", trace="t-1")
        assert (run.status, run.ranked, run.planned, run.loaded) == ("done", 2, 2, 2)
        assert loads == {1: 2, 2: 2}
        assert await cache.get("product", "n1") == 2
        [record] = await recent_runs(cache, "warm")
        assert record.run_id == run.id
        assert record.fields["loaded"] == "2"
        assert record.fields["trace"] == "t-1"
        assert await totals(cache, "warm") == {"product|loaded": 2, "product|runs done": 1}


async def test_readers_never_wait_for_a_key_that_is_kept_warm(redis_server: RedisServer, prefix: str) -> None:
    loads.clear()
    # Due a second after each load; a machine that stalls has nineteen more before the entry expires.
    policy = {"ttl": 20, "warm": {"ahead": 0.95, "min_requests": 0}}
    async with make_cache(redis_server, prefix, product=policy) as cache:
        hot = HotKeys(cache)

        async def loaded_often() -> bool:
            await cache.get_or_load("product", "n7", number, 7)
            await hot.flush()
            await warm(cache, "product")
            return loads[7] >= 5

        await eventually(loaded_often, "five loads", timeout=60)
        assert cache.counters.of("product").misses == 1


async def test_what_is_fresh_is_left_alone(redis_server: RedisServer, prefix: str) -> None:
    loads.clear()
    async with make_cache(redis_server, prefix, product={"ttl": 600, "warm": {"min_requests": 0}}) as cache:
        await read(cache, 1, 2, 3)
        await cache.delete("product", "n2")
        await cache.invalidate_tags("numbers")
        await cache.get_or_load("product", "n3", number, 3)
        run = await warm(cache, "product")
        assert (run.ranked, run.planned, run.loaded) == (3, 2, 2)
        assert loads == {1: 2, 2: 2, 3: 2}
        again = await warm(cache, "product")
        assert (again.planned, again.loaded) == (0, 0)
        assert len(await recent_runs(cache, "warm")) == 1


async def test_a_paused_type_is_left_alone(redis_server: RedisServer, prefix: str) -> None:
    loads.clear()
    async with make_cache(redis_server, prefix, **DUE) as cache:
        await read(cache, 1)
        await pause(cache, "product", "source under repair")
        assert await paused(cache) == {"product": "source under repair"}
        assert (await warm(cache, "product")).status == "paused"
        assert loads[1] == 1
        assert await resume(cache, "product")
        assert not await resume(cache, "product")
        assert (await warm(cache, "product")).loaded == 1
        with pytest.raises(UsageError):
            await pause(cache, "unheard_of", "")


async def test_a_pause_stops_a_run_under_way(redis_server: RedisServer, prefix: str) -> None:
    slow = {"ttl": 60, "warm": {**ALWAYS_DUE, "loads_per_second": 20, "concurrency": 1}}
    async with make_cache(redis_server, prefix, product=slow) as cache:
        ask_for(cache, "warming.number", range(500))
        await flush_hot(cache)
        task = asyncio.create_task(warm(cache, "product", seconds=60))
        await eventually(lambda: len(cache.counters.types) and cache.counters.of("product").loads, "a load")
        await pause(cache, "product", "stop")
        run = await task
        assert run.status == "interrupted"
        assert run.reasons == {"paused": 1}
        assert run.loaded + run.deferred == run.planned == 500


async def test_of_two_runs_at_once_one_does_the_work(redis_server: RedisServer, prefix: str) -> None:
    loads.clear()
    async with make_cache(redis_server, prefix, **DUE) as one, make_cache(redis_server, prefix, **DUE) as two:
        await read(one, *range(20))
        runs = await asyncio.gather(warm(one, "product"), warm(two, "product"))
        assert sorted(run.status for run in runs) == ["busy", "done"]
        assert set(loads.values()) == {2}
        assert (await warm(two, "product")).status == "done"


async def test_one_bad_loader_does_not_stop_a_run(redis_server: RedisServer, prefix: str) -> None:
    loads.clear()
    async with make_cache(redis_server, prefix, **DUE) as cache:
        await read(cache, 1, 2)
        ask_for(cache, "warming.broken", range(FAILURES_IN_A_ROW + 30))
        ask_for(cache, "warming.gives_up", range(3))
        ask_for(cache, "warming.removed", range(2))
        cache.access.append(("product", "by hand", None))
        await flush_hot(cache)
        run = await warm(cache, "product")
        assert (run.status, run.loaded) == ("done", 2)
        failed = run.reasons["ConnectionRefusedError"]
        assert FAILURES_IN_A_ROW <= failed < FAILURES_IN_A_ROW + 8
        assert run.reasons == {
            "ConnectionRefusedError": failed,
            "LoadCancelledError": 3,
            "unknown loader": 2,
            "no recipe": 1,
            "loader warming.broken keeps failing": FAILURES_IN_A_ROW + 30 - failed,
        }
        assert run.loaded + run.failed + run.skipped == run.planned


async def test_the_budget_cuts_the_plan_hottest_first(redis_server: RedisServer, prefix: str) -> None:
    loads.clear()
    policy = {"ttl": 60, "warm": {**ALWAYS_DUE, "loads_per_second": 10}}
    async with make_cache(redis_server, prefix, product=policy) as cache:
        await read(cache, *range(10), 3, 4, 4)
        run = await warm(cache, "product", seconds=0.2)
        assert (run.planned, run.loaded + run.deferred) == (10, 10)
        assert 1 <= run.loaded <= 2
        assert loads[4] == 2


@pytest.mark.parametrize(("min_requests", "ranked"), [(1000.0, 0), (0.0, 1)])
async def test_what_is_hardly_asked_for_may_expire(
    redis_server: RedisServer, prefix: str, min_requests: float, ranked: int
) -> None:
    policy: dict[str, Any] = {"ttl": 60, "warm": {**ALWAYS_DUE, "min_requests": min_requests}}
    async with make_cache(redis_server, prefix, product=policy) as cache:
        await read(cache, 1)
        assert (await warm(cache, "product")).ranked == ranked


async def test_only_so_many_keys_are_kept_warm(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(
        redis_server, prefix, product={"ttl": 60, "warm": {**ALWAYS_DUE, "keys": 2}}
    ) as cache:
        await read(cache, 1, 2, 3, 1, 2)
        assert (await warm(cache, "product")).loaded == 2
        assert (await warm(cache, "product", limit=1)).loaded == 1


async def test_of_runs_with_nothing_to_do_few_are_recorded(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **DUE) as cache:
        first = await warm(cache, "product")
        await warm(cache, "product")
        assert [record.run_id for record in await recent_runs(cache, "warm")] == [first.id]
        await read(cache, 1)
        busy = await warm(cache, "product")
        assert [record.run_id for record in await recent_runs(cache, "warm")] == [busy.id, first.id]
        assert (await totals(cache, "warm"))["product|runs done"] == 3


async def test_a_type_may_be_left_out(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix) as cache:
        assert (await warm(cache, "session")).status == "disabled"
        with pytest.raises(UsageError, match="unheard_of"):
            await warm(cache, "unheard_of")


async def test_an_invalidation_that_overtakes_a_warm_load_wins(
    redis_server: RedisServer, prefix: str
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    price = "old"

    async def slow_price() -> str:
        seen = price
        began.set()
        await go_on.wait()
        return seen

    name = f"warming.price.{prefix}"
    registered = loader(name, cache_type="product")(slow_price)
    async with make_cache(redis_server, prefix, **DUE) as cache:
        cache.access.append(("product", "price", Recipe(name)))
        await flush_hot(cache)
        task = asyncio.create_task(warm(cache, "product"))
        await began.wait()
        price = "new"
        await cache.invalidate_type("product")
        go_on.set()
        await task
        assert await cache.get("product", "price") is None
        assert await cache.get_or_load("product", "price", registered) == "new"


async def test_a_cancelled_run_gives_its_lock_back(redis_server: RedisServer, prefix: str) -> None:
    began = asyncio.Event()

    async def hangs() -> None:
        began.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.Event().wait()

    name = f"warming.hangs.{prefix}"
    loader(name, cache_type="product")(hangs)
    async with make_cache(redis_server, prefix, **DUE) as cache:
        cache.access.append(("product", "k", Recipe(name)))
        await flush_hot(cache)
        task = asyncio.create_task(warm(cache, "product"))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await warm(cache, "product", limit=1)).status == "done"


async def test_without_a_server_a_run_says_so(own_redis_server: RedisServer) -> None:
    async with make_cache(own_redis_server, "away", **DUE) as cache:
        await read(cache, 1)
        own_redis_server.kill()
        run = await warm(cache, "product")
        assert run.status == "unreachable"
        assert run.loaded == 0


async def test_a_server_that_goes_away_stops_a_run(own_redis_server: RedisServer) -> None:
    calls: list[int] = []

    async def kills(n: int) -> int:
        calls.append(n)
        if len(calls) == 1:
            own_redis_server.kill()
        return n

    loader("warming.kills", cache_type="product")(kills)
    one_by_one = {**ALWAYS_DUE, "concurrency": 1, "loads_per_second": 20}
    async with make_cache(own_redis_server, "goes", product={"ttl": 60, "warm": one_by_one}) as cache:
        ask_for(cache, "warming.kills", range(100))
        await flush_hot(cache)
        run = await warm(cache, "product", seconds=60)
        assert run.status == "unreachable"
        assert run.loaded == 0
        assert run.planned == run.refused + run.failed + run.deferred == 100
        assert len(calls) < 10
