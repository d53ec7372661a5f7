"""Values that callers vouch for now: stamped with the log's end, with a script only where one is needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest

from stoker.core import CacheManager, Key, Tag
from stoker.core.entries.entry import HEADER_BYTES
from stoker.core.entries.vouching import UNDER_WAY
from stoker.core.link.sending import WRITE_TOGETHER
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

KINDS = pytest.mark.parametrize("kind", ["derived", "authoritative"])


def manager(server: RedisServer, prefix: str, kind: str = "derived") -> CacheManager:
    return make_manager(server, prefix, page={"ttl": 60, "kind": kind})


async def scripts_run(cache: CacheManager) -> int:
    """Scripts that the server has run."""
    stats = (await cache.link.call("INFO", "commandstats")).decode()
    calls = [line for line in stats.splitlines() if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))]
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in calls)


async def test_while_the_log_does_not_grow_sets_need_no_script(
    own_redis_server: RedisServer, prefix: str
) -> None:
    async with manager(own_redis_server, prefix) as cache:
        before = await scripts_run(cache)
        assert await cache.set("page", "k", 1)
        assert await cache.set_many("page", {str(n): n for n in range(3 * WRITE_TOGETHER + 1)}) == 76
        assert await scripts_run(cache) == before
        assert await cache.get("page", "k") == 1
        assert await cache.get_many("page", ["0", "75"]) == {"0": 0, "75": 75}


async def test_where_the_cache_is_the_source_sets_need_one(
    own_redis_server: RedisServer, prefix: str
) -> None:
    async with manager(own_redis_server, prefix, "authoritative") as cache:
        before = await scripts_run(cache)
        assert await cache.set("page", "k", 1)
        assert await scripts_run(cache) > before


@KINDS
async def test_what_others_have_invalidated_before_kills_no_set(
    redis_server: RedisServer, prefix: str, kind: str
) -> None:
    async with manager(redis_server, prefix, kind) as cache, manager(redis_server, prefix, kind) as peer:
        await cache.get("page", "known up to here")
        await peer.invalidate(Key("page", "k"))
        await peer.invalidate_tags("all")
        assert await cache.set("page", "k", 1, tags=["all"])
        assert await peer.get("page", "k") == 1
        await peer.invalidate_type("page")
        assert await cache.set_many("page", {str(n): n for n in range(60)}, tags=["all"]) == 60
        assert len(await peer.get_many("page", [str(n) for n in range(60)])) == 60


@KINDS
async def test_what_this_process_has_invalidated_before_kills_no_set(
    redis_server: RedisServer, prefix: str, kind: str
) -> None:
    async with manager(redis_server, prefix, kind) as cache:
        for value in range(5):
            await cache.delete("page", "k")
            assert await cache.set("page", "k", value)
            assert await cache.get("page", "k") == value


@KINDS
async def test_sets_that_race_with_invalidations_of_other_things_all_live(
    redis_server: RedisServer, prefix: str, kind: str
) -> None:
    async with manager(redis_server, prefix, kind) as cache, manager(redis_server, prefix, kind) as peer:

        async def invalidate() -> None:
            for n in range(300):
                await peer.invalidate(Tag(f"nobody's {n}"))

        noise = asyncio.create_task(invalidate())
        rounds = 0
        while not noise.done():
            assert await cache.set("page", str(rounds), rounds)
            rounds += 1
        await noise
        names = [str(n) for n in range(rounds)]
        assert await peer.get_many("page", names) == {name: int(name) for name in names}


async def test_an_invalidation_after_a_set_kills_it(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix) as cache, manager(redis_server, prefix) as peer:
        await cache.set_many("page", {"a": 1, "b": 2})
        await peer.invalidate(Key("page", "a"))
        assert await cache.get_many("page", ["a", "b"]) == {"b": 2}
        assert await peer.get("page", "a") is None


async def test_what_is_set_just_after_the_log_was_lost_is_there(
    own_redis_server: RedisServer, prefix: str
) -> None:
    async with manager(own_redis_server, prefix) as cache:
        await cache.invalidate(Tag("something"))
        await cache.get("page", "k")
        own_redis_server.client().flushall()
        await cache.set("page", "k", 1)  # it may be told that the log is lost
        await cache.log.catch_up()
        assert await cache.set("page", "k", 2)
        assert await cache.get("page", "k") == 2


async def test_a_batch_larger_than_what_may_be_under_way_is_stored_whole(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as cache:
        values: dict[str, Any] = {str(n): n for n in range(2 * UNDER_WAY + 7)}
        assert await cache.set_many("page", values) == len(values)
        assert await cache.get_many("page", values) == values
        assert cache.counters.of("page").sets == len(values)


async def test_a_value_that_cant_be_stored_leaves_the_rest_of_its_batch_whole(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix) as cache:
        assert await cache.set_many("page", {"a": 1, "b": object(), "c": 3}) == 2
        assert await cache.get_many("page", ["a", "b", "c"]) == {"a": 1, "c": 3}
        counters = cache.counters.of("page")
        assert (counters.sets, counters.sets_refused, counters.unstorable) == (2, 0, 1)


@KINDS
async def test_a_full_server_refuses_and_the_set_says_so(
    own_redis_server: RedisServer, prefix: str, kind: str
) -> None:
    async with manager(own_redis_server, prefix, kind) as cache:
        assert await cache.set("page", "k", 1)
        own_redis_server.client().config_set("maxmemory", "1mb")
        assert not await cache.set("page", "k", "x" * 100)
        assert await cache.set_many("page", {"a": 1, "b": 2}) == 0
        own_redis_server.client().config_set("maxmemory", "0")
        assert await cache.get("page", "k") == 1
        assert await cache.set("page", "k", 2)


async def test_a_reader_that_gives_up_costs_those_who_share_its_fetch_nothing(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager(redis_server, prefix) as cache:
        await cache.set("page", "k", 1)
        readers = [asyncio.create_task(cache.get("page", "k")) for _ in range(5)]
        await asyncio.sleep(0)  # all of them have asked
        readers[0].cancel()
        readers[3].cancel()
        found = await asyncio.gather(*readers, return_exceptions=True)
        assert [one for one in found if not isinstance(one, asyncio.CancelledError)] == [1, 1, 1]
        assert await cache.get("page", "k") == 1
        assert "reply_handler_error" not in caplog.text


async def test_what_was_set_seen_and_then_invalidated_does_not_come_back(
    redis_server: RedisServer, prefix: str
) -> None:
    ready, seen, invalidated = threading.Event(), threading.Event(), threading.Event()

    async def set_slowly() -> bool:
        async with manager(redis_server, prefix) as cache:
            await cache.get("page", "another")
            ready.set()
            await asyncio.to_thread(seen.wait, 20)
            seen.clear()
            # The loop stands still between the write that sets and what follows the server's reply.
            cache.link.before_flush(lambda: cache.link.before_flush(lambda: _stand_still(invalidated)))
            return await cache.set("page", "k", "set")

    async with manager(redis_server, prefix) as peer:
        setting = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(set_slowly())))
        await asyncio.to_thread(ready.wait, 20)
        await peer.invalidate(Tag("something else"))
        seen.set()

        async def is_there() -> bool:
            return bool(await peer.get("page", "k") == "set")

        await eventually(is_there, "the set")
        assert (await peer.invalidate(Key("page", "k"))).acknowledged
        invalidated.set()
        assert await setting
        assert await peer.get("page", "k") is None


@asynccontextmanager
async def set_whose_loop_stands_still(
    server: RedisServer, prefix: str, goes_on: threading.Event
) -> AsyncGenerator[tuple[CacheManager, asyncio.Task[bool]]]:
    """A set after an invalidation that its process has not heard of.

    Yields:
        A peer, once the value is there, and the set: what follows its server's reply waits for `goes_on`.
    """
    ready, invalidated = threading.Event(), threading.Event()

    async def set_slowly() -> bool:
        async with manager(server, prefix) as cache:
            await cache.get("page", "another")
            ready.set()
            await asyncio.to_thread(invalidated.wait, 20)
            # The loop stands still between the write that sets and what follows the server's reply.
            cache.link.before_flush(lambda: cache.link.before_flush(lambda: _stand_still(goes_on)))
            return await cache.set("page", "k", "set")

    async with manager(server, prefix) as peer:
        setting = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(set_slowly())))
        await asyncio.to_thread(ready.wait, 20)
        assert (await peer.invalidate(Key("page", "k"))).acknowledged
        invalidated.set()
        name, client = peer.keys.entry("page", "k"), server.client()
        await eventually(lambda: client.exists(name), "the set")
        yield peer, setting


async def test_what_another_loaded_before_an_invalidation_is_not_taken_for_what_was_set(
    redis_server: RedisServer, prefix: str
) -> None:
    """It may have the same header: born there, stored in the same millisecond, for as long."""
    replaced, client = threading.Event(), redis_server.client()
    async with set_whose_loop_stands_still(redis_server, prefix, replaced) as (peer, setting):
        name = peer.keys.entry("page", "k")
        header = client.getrange(name, 0, HEADER_BYTES - 1)
        client.set(name, header + msgspec.msgpack.encode("old"), keepttl=True)
        replaced.set()
        await setting
        assert await peer.get("page", "k") is None


@pytest.mark.parametrize("ends", [False, True])
async def test_what_a_late_delete_has_taken_for_what_it_killed_is_stored_again(
    redis_server: RedisServer, prefix: str, ends: bool
) -> None:
    """Unless it was invalidated after it was set."""
    deleted, client = threading.Event(), redis_server.client()
    async with set_whose_loop_stands_still(redis_server, prefix, deleted) as (peer, setting):
        if ends:
            assert (await peer.invalidate(Key("page", "k"))).acknowledged
        client.delete(peer.keys.entry("page", "k"))
        deleted.set()
        assert await setting
        assert await peer.get("page", "k") == (None if ends else "set")


async def test_another_s_newer_value_stands(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix) as cache, manager(redis_server, prefix) as peer:
        for number in range(200):
            await peer.invalidate(Tag("something else"))
            first = asyncio.create_task(cache.set("page", "k", -number))
            await eventually(partial(_is, peer, -number), "the set")  # what follows comes later
            assert await peer.set("page", "k", number + 1)
            assert await first
            assert await cache.get("page", "k") == number + 1


async def test_a_set_that_was_given_up_does_not_come_back(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix) as cache, manager(redis_server, prefix) as peer:
        for number in range(100):
            await peer.invalidate(Tag("something else"))
            given_up = asyncio.create_task(cache.set("page", "k", number))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            given_up.cancel()
            await cache.invalidate(Key("page", "k"))
            assert await cache.get("page", "k") is None


async def _is(cache: CacheManager, value: int) -> bool:
    return bool(await cache.get("page", "k") == value)


def _stand_still(until: threading.Event) -> None:
    until.wait(20)
