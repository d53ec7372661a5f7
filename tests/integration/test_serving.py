"""What a read is answered with when an entry is old, and its loader slow or failing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stoker.core import CacheManager, Everything, Key, Reading, Tag
from stoker.core.entries.lookup import State
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.sources import Source, until_state
from tests.waiting import eventually

#: A TTL that has passed before anybody looks again, almost.
BRIEF = 0.05


@asynccontextmanager
async def caching(
    server: RedisServer, prefix: str, **policy: Any
) -> AsyncGenerator[tuple[CacheManager, Source]]:
    async with make_manager(server, prefix, product=policy) as cache:
        yield cache, Source("old")


async def read(cache: CacheManager, source: Source) -> Reading[Any]:
    return await cache.read("product", "1", source.load)


async def grow_stale(cache: CacheManager, source: Source) -> None:
    """Have an entry that is past its TTL."""
    assert (await read(cache, source)).outcome == "miss"
    await until_state(cache, "product", "1", State.STALE)
    source.value = "new"


def counted(cache: CacheManager, *names: str) -> list[int]:
    counters = cache.counters.of("product")
    return [int(getattr(counters, name)) for name in names]


def said(caplog: pytest.LogCaptureFixture, action: str) -> list[str]:
    return [line for line in caplog.messages if line.startswith(f"action={action} ")]


async def test_a_hit_with_little_of_its_ttl_left_is_loaded_again_behind_the_answer(
    redis_server: RedisServer, prefix: str
) -> None:
    async with caching(redis_server, prefix, ttl=3600, early=0.999_999) as (cache, source):
        await read(cache, source)
        source.value = "new"

        async def early() -> bool:
            assert (await read(cache, source)).outcome == "hit"
            return source.loads == 2

        await eventually(early, "a load began behind an answer")
        await eventually(lambda: counted(cache, "sets") == [2], "it was stored")
        assert counted(cache, "early_refreshes", "misses", "stale_hits") == [1, 1, 0]
        assert (await read(cache, source)).value == "new"


async def test_a_hit_with_enough_of_its_ttl_left_is_left_alone(
    redis_server: RedisServer, prefix: str
) -> None:
    async with caching(redis_server, prefix, ttl=3600, early=0.5) as (cache, source):
        for _ in range(5):
            await read(cache, source)
        assert (source.loads, counted(cache, "early_refreshes")) == (1, [0])


async def test_within_the_stale_window_nobody_waits(redis_server: RedisServer, prefix: str) -> None:
    async with caching(redis_server, prefix, ttl=BRIEF, stale=60) as (cache, source):
        await grow_stale(cache, source)
        source.gate.clear()
        reading = await read(cache, source)
        assert (reading.value, reading.outcome) == ("old", "stale")
        assert reading.age >= BRIEF
        await eventually(lambda: source.loading == 1, "it is loaded again behind the answer")
        source.gate.set()
        await eventually(lambda: counted(cache, "sets") == [2], "it was stored")


async def test_past_the_stale_window_a_load_is_waited_for(redis_server: RedisServer, prefix: str) -> None:
    async with caching(redis_server, prefix, ttl=BRIEF, fail_safe=60) as (cache, source):
        await grow_stale(cache, source)
        reading = await read(cache, source)
        assert (reading.value, reading.outcome) == ("new", "miss")
        assert counted(cache, "misses", "hits", "fail_safe_serves") == [2, 0, 0]


async def test_an_old_entry_answers_for_a_loader_that_fails_and_is_left_alone_for_a_while(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = {"ttl": BRIEF, "fail_safe": 60, "fail_safe_throttle": 3600}
    async with caching(redis_server, prefix, **policy) as (cache, source):
        await grow_stale(cache, source)
        source.error = ConnectionError("down")
        for _ in range(3):
            reading = await read(cache, source)
            assert (reading.value, reading.outcome) == ("old", "stale")
        assert source.loads == 2, "one attempt, then it is left alone"
        names = ("misses", "hits", "stale_hits", "fail_safe_serves", "throttled", "load_failures")
        assert counted(cache, *names) == [1, 3, 3, 3, 2, 1]
        assert len(said(caplog, "loads_failing")) == 1
        assert "reason=ConnectionError: down" in said(caplog, "loads_failing")[0]


async def test_after_the_throttle_the_loader_is_asked_again_and_its_recovery_is_said_once(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = {"ttl": BRIEF, "fail_safe": 60, "fail_safe_throttle": 0.1}
    async with caching(redis_server, prefix, **policy) as (cache, source):
        await grow_stale(cache, source)
        source.error = ConnectionError("down")

        async def failed_again() -> bool:
            assert (await read(cache, source)).outcome == "stale"
            return counted(cache, "load_failures") == [2]

        await eventually(failed_again, "the loader was asked again")
        source.error = None

        async def recovered() -> bool:
            return bool((await read(cache, source)).value == "new")

        await eventually(recovered, "the loader was asked again")
        assert len(said(caplog, "loads_recovered")) == 1
        assert len(said(caplog, "loads_failing")) == 1


async def test_a_failing_refresh_behind_an_answer_is_throttled_too(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = {"ttl": BRIEF, "stale": 60, "fail_safe_throttle": 3600}
    async with caching(redis_server, prefix, **policy) as (cache, source):
        await grow_stale(cache, source)
        source.error = ConnectionError("down")
        assert (await read(cache, source)).value == "old"
        await eventually(lambda: counted(cache, "load_failures") == [1], "the load behind it failed")
        for _ in range(3):
            assert (await read(cache, source)).value == "old"
        assert source.loads == 2
        assert counted(cache, "throttled") == [3]
        assert len(said(caplog, "loads_failing")) == 1


async def test_a_failure_reaches_the_caller_when_there_is_nothing_else(
    redis_server: RedisServer, prefix: str
) -> None:
    async with caching(redis_server, prefix, fail_safe=60, fail_safe_throttle=3600) as (cache, source):
        source.error = ConnectionError("down")
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await read(cache, source)
        assert source.loads == 2, "the throttle spares a loader only while there is an entry to serve"


async def test_an_entry_older_than_fail_safe_answers_for_nobody(
    redis_server: RedisServer, prefix: str
) -> None:
    async with caching(redis_server, prefix, ttl=BRIEF, fail_safe=BRIEF) as (cache, source):
        await read(cache, source)
        entry = cache.keys.entry("product", "1")
        await eventually(lambda: not redis_server.client().exists(entry), "it is gone from the server")
        source.error = ConnectionError("down")
        with pytest.raises(ConnectionError):
            await read(cache, source)


async def test_an_entry_that_a_longer_policy_left_answers_for_nobody(
    redis_server: RedisServer, prefix: str
) -> None:
    async with (
        caching(redis_server, prefix, ttl=BRIEF, fail_safe=3600) as (generous, source),
        caching(redis_server, prefix, ttl=BRIEF, fail_safe=2 * BRIEF) as (cache, _),
    ):
        await grow_stale(generous, source)
        (found,) = await generous.peek("product", ["1"])
        assert found is not None
        until = asyncio.get_running_loop().time() + found.ttl_left + 2 * BRIEF
        await eventually(lambda: asyncio.get_running_loop().time() > until, "fail_safe has passed")
        source.error = ConnectionError("down")
        with pytest.raises(ConnectionError):
            await read(cache, source)


async def test_a_slow_load_goes_on_behind_the_old_entry(redis_server: RedisServer, prefix: str) -> None:
    policy = {"ttl": BRIEF, "fail_safe": 60, "soft_timeout": 0.05}
    async with caching(redis_server, prefix, **policy) as (cache, source):
        await grow_stale(cache, source)
        source.gate.clear()
        for _ in range(3):
            reading = await read(cache, source)
            assert (reading.value, reading.outcome) == ("old", "stale")
        assert (source.loads, source.loading) == (2, 1), "one load, which goes on"
        assert counted(cache, "soft_timeouts", "fail_safe_serves", "load_failures") == [3, 3, 0]
        source.gate.set()
        await eventually(lambda: counted(cache, "sets") == [2], "it was stored")


async def test_without_an_old_entry_there_is_no_soft_timeout(redis_server: RedisServer, prefix: str) -> None:
    async with caching(redis_server, prefix, fail_safe=60, soft_timeout=0.01) as (cache, source):
        source.gate.clear()
        reading = asyncio.create_task(read(cache, source))
        await source.reading.wait()
        done, _ = await asyncio.wait([reading], timeout=0.1)
        assert not done
        source.gate.set()
        assert (await reading).outcome == "miss"


async def test_a_load_past_its_hard_limit_is_given_up(redis_server: RedisServer, prefix: str) -> None:
    policy = {"ttl": BRIEF, "fail_safe": 60, "load_timeout": 0.1}
    async with caching(redis_server, prefix, **policy) as (cache, source):
        await grow_stale(cache, source)
        source.gate.clear()
        assert (await read(cache, source)).value == "old"
        assert source.loading == 0, "it was cancelled"
        assert counted(cache, "load_failures", "soft_timeouts", "fail_safe_serves") == [1, 0, 1]
        await cache.delete("product", "1")
        with pytest.raises(TimeoutError):
            await read(cache, source)


@pytest.mark.parametrize("scope", [Key("product", "1"), Tag("t"), Everything()])
async def test_what_was_invalidated_answers_for_nobody(
    redis_server: RedisServer, prefix: str, scope: Any
) -> None:
    policy = {"ttl": BRIEF, "stale": 60, "fail_safe": 60, "soft_timeout": 0.01, "fail_safe_throttle": 3600}
    async with caching(redis_server, prefix, **policy) as (cache, source):
        await cache.set("product", "1", "old", tags=["t"])
        await until_state(cache, "product", "1", State.STALE)
        source.error = ConnectionError("down")
        assert (await read(cache, source)).value == "old"
        await eventually(lambda: counted(cache, "load_failures") == [1], "its loader is left alone now")
        await cache.invalidate(scope)
        with pytest.raises(ConnectionError):
            await read(cache, source)


async def test_a_type_may_say_that_even_a_dead_entry_is_better_than_an_error(
    redis_server: RedisServer, prefix: str
) -> None:
    policy = {"ttl": 60, "fail_safe": 60, "serve_dead_on_error": True, "soft_timeout": 0.01}
    async with caching(redis_server, prefix, **policy) as (cache, source):
        await read(cache, source)
        await cache.invalidate(Key("product", "1"))
        source.value, source.error = "new", ConnectionError("down")
        source.gate.clear()
        slow = asyncio.create_task(read(cache, source))
        await eventually(lambda: source.loading == 1, "it is loaded")
        done, _ = await asyncio.wait([slow], timeout=0.1)
        assert not done, "being slow is no error"
        source.gate.set()
        reading = await slow
        assert (reading.value, reading.outcome) == ("old", "stale")
        source.error = None
        await eventually(lambda: not cache._loads.failing.throttled(("product", "1")), "the throttle ends")
        assert (await read(cache, source)).value == "new"


async def test_a_loaded_none_is_an_old_entry_like_any_other(redis_server: RedisServer, prefix: str) -> None:
    policy = {"ttl": 60, "negative_ttl": BRIEF, "fail_safe": 60}
    async with caching(redis_server, prefix, **policy) as (cache, source):
        source.value = None
        await grow_stale(cache, source)
        source.error = ConnectionError("down")
        reading = await read(cache, source)
        assert (reading.value, reading.outcome) == (None, "stale")
