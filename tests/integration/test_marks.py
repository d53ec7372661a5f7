"""*Get, miss, compute, set* by hand: whoever runs read and set, an invalidation between counts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from stoker.core import Cache, CacheManager, Key, UsageError, marks
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


@pytest.mark.parametrize("cache_type", ["page", "near"])
async def test_set_if_absent_is_stamped_with_its_token_and_with_no_miss(
    redis_server: RedisServer, prefix: str, cache_type: str
) -> None:
    async with _manager(redis_server, prefix) as cache:
        token = await cache.fill(cache_type, "k")
        await cache.invalidate(Key(cache_type, "k"))
        assert not await cache.set(cache_type, "k", "old", if_absent=True, token=token)
        assert await cache.get(cache_type, "k") is None
        await cache.invalidate(Key(cache_type, "k"))
        assert await cache.set(cache_type, "k", "new", if_absent=True)
        assert await cache.get(cache_type, "k") == "new"


async def test_set_if_absent_replaces_what_nobody_can_read(redis_server: RedisServer, prefix: str) -> None:
    async with _manager(redis_server, prefix) as cache:
        client = redis_server.client()
        name = cache.keys.entry("page", "k")
        await cache.set("page", "k", "v")
        other_version = b"SK\x09" + client.get(name)[3:]
        for there in (b"no entry", other_version, None):
            client.delete(name)
            if there is None:
                client.rpush(name, "a list")
            else:
                client.set(name, there)
            before = cache.counters.of("page").undecodable
            assert await cache.set("page", "k", "new", if_absent=True)
            assert cache.counters.of("page").undecodable == before + 1
            assert await cache.get("page", "k") == "new"


@pytest.mark.parametrize("wrong", [{"tags": 5}, {"tags": "one"}, {"ttl": -1}, {"ttl": None, "tags": None}])
async def test_write_through_with_wrong_tags_or_ttl_invalidates_all_the_same(
    redis_server: RedisServer, prefix: str, wrong: dict[str, Any]
) -> None:
    async with _manager(redis_server, prefix) as cache:
        await cache.set("page", "k", "old")

        async def change() -> None:
            async with cache.write_through("page", "k") as write:
                write.value = "new"
                for name, value in wrong.items():
                    setattr(write, name, value)

        with pytest.raises(UsageError):
            await change()
        assert await cache.get("page", "k") is None


async def test_what_can_not_be_used_is_refused_by_name(redis_server: RedisServer, prefix: str) -> None:
    manager = make_manager(
        redis_server, prefix, page={}, near={"tiers": ["memory", "redis"]}, kept={"kind": "authoritative"}
    )
    async with manager as cache:
        nobody: Any = "x"
        view = cache.cache("page", namespace="eu")
        token = await cache.fill("kept", "k")
        for call in (
            lambda: cache.set("page", "k", 1, token=nobody),
            lambda: cache.set("kept", "other", 1, token=token),
            lambda: cache.set("page", "k", 1, tags=5),  # type: ignore[arg-type]  # pyright: ignore
            lambda: cache.set("page", "k", 1, tags=None),  # type: ignore[arg-type]  # pyright: ignore
            lambda: cache.set_many("page", ["k"]),  # type: ignore[arg-type]  # pyright: ignore
            lambda: cache.get_many("page", "abc"),
            lambda: cache.get_many("page", 5),  # type: ignore[call-overload]  # pyright: ignore
            lambda: cache.get("near", ["k"]),  # type: ignore[call-overload]  # pyright: ignore
            lambda: cache.expire("page", "k", None),  # type: ignore[arg-type]  # pyright: ignore
            lambda: cache.invalidate(Key("page", "k"), reason="x" * 4_097),
            lambda: view.get(5),  # type: ignore[call-overload]  # pyright: ignore
            lambda: view.get_many("abc"),
            lambda: view.set_many(["k"]),  # type: ignore[arg-type]  # pyright: ignore
        ):
            with pytest.raises(UsageError):
                await call()


@pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"], ["memory"]], ids="+".join)
@pytest.mark.parametrize("ends", ["tag", "key", None])
async def test_what_has_ended_does_not_come_back_with_a_change_of_it(
    redis_server: RedisServer, prefix: str, tiers: list[str], ends: str | None
) -> None:
    policy = {"kind": "authoritative", "tiers": tiers}
    async with make_manager(redis_server, prefix, kept=policy) as cache:
        assert await cache.set("kept", "k", ["old"], tags=["user:1"])
        token = await cache.fill("kept", "k")
        found = await cache.get("kept", "k")
        if ends == "tag":
            assert (await cache.invalidate_tags("user:1")).acknowledged
        elif ends == "key":
            assert await cache.delete("kept", "k") == 1

        stored = await cache.set("kept", "k", [*found, "new"], tags=["user:1"], token=token)

        assert stored is (ends is None)
        assert await cache.get("kept", "k") == (["old", "new"] if ends is None else None)


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
async def test_a_lock_has_one_holder_whoever_looked_before(
    redis_server: RedisServer, prefix: str, cache_type: str
) -> None:
    async with (
        _manager(redis_server, prefix) as one,
        _manager(redis_server, prefix) as two,
        _manager(redis_server, prefix) as three,
    ):
        assert await one.get(cache_type, "lock") is None
        assert await two.set(cache_type, "lock", "two", if_absent=True)
        await two.delete(cache_type, "lock")
        assert await one.set(cache_type, "lock", "one", if_absent=True)
        assert not await three.set(cache_type, "lock", "three", if_absent=True)
        assert await three.get(cache_type, "lock") == "one"


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
