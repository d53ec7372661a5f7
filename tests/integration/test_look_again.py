"""Reads whose answer is judged after the process has learnt more than the server knew."""

from __future__ import annotations

import asyncio
import time

import pytest

from stoker.core import Key
from tests.managers import make_manager
from tests.servers import RedisServer


@pytest.mark.parametrize("many", [True, False])
async def test_a_sweep_that_is_heard_of_before_the_answer_is_judged_brings_nothing_back(
    redis_server: RedisServer, prefix: str, many: bool
) -> None:
    """The entry is read while it is dead, then unlinked by a sweep; what killed it is forgotten meanwhile."""
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("db_query", "k", "old")
        await cache.invalidate_pattern("db_query", "*")
        await cache.get_many("db_query", ["other"])  # reads the record; and the script is known from now on
        log, entry = cache.keys.log, cache.keys.entry("db_query", "k")

        async def read() -> object:
            if many:
                return await cache.get_many("db_query", ["k"])
            return await cache.get("db_query", "k")

        def sweep_meanwhile() -> None:
            # The server has run check and fetch: their replies wait in the socket, and this is no coroutine.
            target = client.xrevrange(log, count=1)[0][0]
            client.unlink(entry)
            client.xtrim(log, minid=target)
            client.xadd(log, {"_swept": target})
            cache.log.check()  # of another read, whose reply comes with those that wait
            cache.link._flush()
            time.sleep(0.05)

        loop = asyncio.get_running_loop()

        def sweep_soon() -> None:
            loop.call_soon(sweep_meanwhile)

        cache.link.before_flush(sweep_soon)
        assert await read() in ({}, None)


async def test_sets_after_more_misses_than_a_task_can_mark_are_stamped_as_the_oldest(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker.core.marks.MAX_MARKS", 100)
    keys = [f"k{n}" for n in range(250)]
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as other:
        assert await cache.get_many("db_query", keys) == {}
        await other.invalidate(*(Key("db_query", key) for key in keys))
        await cache.set_many("db_query", dict.fromkeys(keys, "computed before"))
        assert await other.get_many("db_query", keys) == {}
