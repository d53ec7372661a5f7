"""*Get, miss, compute, set* by hand: whoever runs read and set, an invalidation between counts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from stoker.core import Cache, CacheManager, Key, marks
from stoker.core.marks import MAX_ANCESTORS
from tests.managers import make_manager
from tests.servers import RedisServer

Call = Coroutine[Any, Any, Any]


async def _direct(call: Call) -> Any:
    return await call


async def _gathered(call: Call) -> Any:
    return (await asyncio.gather(call))[0]


async def _with_a_limit(call: Call) -> Any:
    return await asyncio.wait_for(call, 5)


async def _in_a_task(call: Call) -> Any:
    return await asyncio.create_task(call)


async def _in_a_group(call: Call) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call)
    return task.result()


WAYS = [_direct, _gathered, _with_a_limit, _in_a_task, _in_a_group]
Way = Callable[[Call], Awaitable[Any]]


def _manager(server: RedisServer, prefix: str) -> CacheManager:
    return make_manager(server, prefix, page={}, near={"tiers": ["memory", "redis"]})


async def _fresh_task(work: Call) -> Any:
    """Run in a task that begins without marks."""
    return await asyncio.create_task(work)


@pytest.mark.parametrize("reads", WAYS)
@pytest.mark.parametrize("sets", WAYS)
@pytest.mark.parametrize("batch", [False, True])
async def test_an_invalidation_between_miss_and_set_counts_whatever_runs_them(
    redis_server: RedisServer, prefix: str, reads: Way, sets: Way, batch: bool
) -> None:
    async with _manager(redis_server, prefix) as cache:
        for view in (cache.cache("page"), cache.cache("page", namespace="eu"), cache.cache("near")):

            async def handler(view: Cache) -> None:
                for _ in range(2):
                    await reads(view.get_many(["k"]) if batch else view.get("k"))
                    await view.manager.invalidate(Key(view.cache_type, view.key("k")))
                    await sets(view.set_many({"k": "old"}) if batch else view.set("k", "old"))
                    assert await _fresh_task(view.get("k")) is None
                # And where nothing comes between, the same task's next load is kept.
                await reads(view.get_many(["k"]) if batch else view.get("k"))
                await sets(view.set_many({"k": "new"}) if batch else view.set("k", "new"))
                assert await _fresh_task(view.get("k")) == "new"

            await _fresh_task(handler(view))


async def test_a_set_in_a_helper_is_stamped_with_the_miss_of_the_task_that_started_it(
    redis_server: RedisServer, prefix: str
) -> None:
    async with _manager(redis_server, prefix) as cache:

        async def helper(value: str) -> None:
            await cache.get("page", "other")
            await cache.set("page", "k", value)

        async def handler() -> None:
            assert await cache.get("page", "k") is None
            await cache.invalidate(Key("page", "k"))
            await asyncio.gather(helper("old"), helper("old, too"))
            assert await cache.get("page", "k") is None  # the first load is over: here begins another
            await asyncio.gather(helper("new"))
            assert await _fresh_task(cache.get("page", "k")) == "new"

        await _fresh_task(handler())


async def test_a_helper_that_starts_tasks_of_its_own_is_held_to_the_miss_all_the_same(
    redis_server: RedisServer, prefix: str
) -> None:
    """However deep they go, and whether they use the cache: `wait_for` and `gather` make a task of each."""
    async with _manager(redis_server, prefix) as cache:

        async def go_down(levels: int) -> None:
            await cache.get("page", f"level {levels}")
            if levels:
                await asyncio.wait_for(go_down(levels - 1), 5)

        async def helper(levels: int) -> bool:
            await cache.get("page", "layout")
            await asyncio.gather(go_down(levels))
            await cache.invalidate(Key("page", "k"))
            return await cache.set("page", "k", "old")

        async def handler(levels: int) -> None:
            assert await cache.get("page", "k") is None
            assert not await asyncio.create_task(helper(levels))

        for levels in range(MAX_ANCESTORS + 2):
            await _fresh_task(handler(levels))
            assert await _fresh_task(cache.get("page", "k")) is None


async def test_a_set_so_many_tasks_below_the_miss_is_held_to_it(
    redis_server: RedisServer, prefix: str
) -> None:
    async with _manager(redis_server, prefix) as cache:

        async def go_down(levels: int) -> bool:
            if not levels:
                return await cache.set("page", "k", "old")
            await cache.get("page", f"level {levels}")
            return await asyncio.create_task(go_down(levels - 1))

        async def handler(levels: int) -> bool:
            assert await cache.get("page", "k") is None
            await cache.delete("page", "k")
            return await asyncio.create_task(go_down(levels))

        for levels in range(MAX_ANCESTORS):
            assert not await _fresh_task(handler(levels))


async def test_a_chain_of_tasks_that_start_each_other_keeps_few_marks(
    redis_server: RedisServer, prefix: str
) -> None:
    async with _manager(redis_server, prefix) as cache:

        def kept() -> int:
            """Things of the module that are alive."""
            gc.collect()
            return sum(type(one).__module__ == marks.__name__ for one in gc.get_objects())

        async def link(left: int) -> int:
            await cache.get("page", f"link {left}")
            if not left:
                return kept()
            following.append(asyncio.create_task(link(left - 1)))
            return 0

        before = after = kept()
        following = [asyncio.create_task(link(200))]
        while following:
            after = await following.pop()
        assert after - before < 10 * (MAX_ANCESTORS + 2)


async def test_another_tasks_load_of_the_key_takes_no_mark_away(
    redis_server: RedisServer, prefix: str
) -> None:
    async with _manager(redis_server, prefix) as cache:
        turn, done = asyncio.Event(), asyncio.Event()

        async def other() -> None:
            await turn.wait()
            assert await cache.get("page", "k") is None
            await cache.set("page", "k", "new")
            done.set()

        async def handler() -> None:
            await asyncio.gather(cache.get("page", "k"), cache.get("page", "k2"))
            await cache.invalidate(Key("page", "k"))
            turn.set()
            await done.wait()
            await cache.set("page", "k", "old")

        await asyncio.gather(other(), handler())
        assert await cache.get("page", "k") == "new"


@pytest.mark.parametrize("cache_type", ["page", "near"])
@pytest.mark.parametrize("in_a_helper", [False, True])
async def test_a_hit_takes_no_mark_away(
    redis_server: RedisServer, prefix: str, cache_type: str, in_a_helper: bool
) -> None:
    async with _manager(redis_server, prefix) as cache, _manager(redis_server, prefix) as another:

        async def helper() -> Any:
            return await cache.get(cache_type, "k")

        async def handler() -> None:
            assert await cache.get(cache_type, "k") is None
            await another.invalidate(Key(cache_type, "k"))
            await another.set(cache_type, "k", "new")
            found = await (asyncio.create_task(helper()) if in_a_helper else helper())
            assert found == "new"
            await cache.set(cache_type, "k", "old")

        await _fresh_task(handler())
        assert await another.get(cache_type, "k") == "new"


async def test_a_miss_of_one_request_spoils_no_bare_set_of_another(
    redis_server: RedisServer, prefix: str
) -> None:
    """Requests are tasks that share a parent, which may have used the cache itself."""
    async with _manager(redis_server, prefix) as cache:
        assert await cache.get("page", "at the start") is None

        async def misses(way: Way) -> None:
            assert await way(cache.get("page", "k")) is None

        async def sets() -> None:
            await cache.set("page", "k", "vouched for")

        async def hits() -> None:
            assert await cache.get("page", "k") == "vouched for"

        for way in WAYS:
            await asyncio.create_task(misses(way))
            await cache.delete("page", "k")
            await asyncio.create_task(sets())
            await asyncio.create_task(hits())
            await cache.delete("page", "k")


async def test_the_miss_of_a_helper_marks_the_set_of_the_task_that_started_it(
    redis_server: RedisServer, prefix: str
) -> None:
    async with _manager(redis_server, prefix) as cache:

        async def helper() -> Any:
            return await cache.get("page", "k")

        async def handler() -> None:
            await cache.get("page", "other")
            assert await asyncio.create_task(helper()) is None
            await cache.delete("page", "k")
            await cache.set("page", "k", "old")

        await _fresh_task(handler())
        assert await cache.get("page", "k") is None


async def test_a_mark_is_let_go_in_time(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _manager(redis_server, prefix) as cache:
        await cache.get("page", "k")
        await cache.invalidate(Key("page", "k"))
        monkeypatch.setattr("stoker.core.marks.FORGOTTEN_SECONDS", -1.0)
        await cache.set("page", "k", "vouched for")
        assert await cache.get("page", "k") == "vouched for"


async def test_a_view_computes_by_hand_as_its_manager_does(redis_server: RedisServer, prefix: str) -> None:
    async with _manager(redis_server, prefix) as cache:
        view = cache.cache("page", namespace="eu")
        token = await view.fill("k")
        assert await view.set("k", 1, token=token)
        assert await cache.get("page", "eu:k") == 1

        async def load() -> int:
            return 2

        assert (await view.read("k", load)).value == 1
        assert await view.get_or_set("k2", load) == 2
        async with view.write_through("k") as write:
            write.value = 3
        assert await view.get("k") == 3


@pytest.mark.parametrize("cache_type", ["page", "near"])
async def test_a_set_says_that_an_invalidation_has_overtaken_it(
    redis_server: RedisServer, prefix: str, cache_type: str
) -> None:
    async with _manager(redis_server, prefix) as cache, _manager(redis_server, prefix) as peer:
        for who in (cache, peer):
            assert await cache.get(cache_type, "k") is None
            await who.invalidate(Key(cache_type, "k"))
            assert not await cache.set(cache_type, "k", "before")
            assert await cache.get_many(cache_type, ["k", "l"]) == {}
            await who.invalidate(Key(cache_type, "k"))
            assert await cache.set_many(cache_type, {"k": "before", "l": "untouched"}) == 1
            assert await cache.get_many(cache_type, ["k", "l"]) == {"l": "untouched"}
            await cache.delete(cache_type, "l")
        assert await cache.set(cache_type, "k", "after")
        assert await peer.get(cache_type, "k") == "after"
