"""A strict read that begins after an invalidation was acknowledged never returns what was before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from stoker.core import Everything, Key, Pattern, Scope, Tag, Type, loader
from stoker.core.log.appending import MAX_RECORD_SCOPES
from stoker.core.log.position import parse_position
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.sources import Source
from tests.waiting import eventually

SCOPES: dict[str, Scope] = {
    "key": Key("product", "1"),
    "tag": Tag("red"),
    "type": Type("product"),
    "pattern": Pattern("product", "[0-9]*"),
    "everything": Everything(),
}
OTHERS: dict[str, Scope] = {
    "key": Key("product", "2"),
    "tag": Tag("blue"),
    "type": Type("db_query"),
    "pattern": Pattern("product", "x*"),
}


def tagged(source: Source, name: str) -> Callable[[], Awaitable[int]]:
    @loader(name, cache_type="product", tags=lambda _: ["red"])
    async def load() -> int:
        return int(await source.load())

    return load


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("where", ["same process", "other process"])
async def test_what_is_invalidated_is_not_served(
    redis_server: RedisServer, prefix: str, scope: str, where: str
) -> None:
    source = Source()
    load = tagged(source, f"{prefix}.{scope}.{where}")
    async with (
        make_manager(redis_server, prefix, product={}) as cache,
        make_manager(redis_server, prefix, product={}) as peer,
    ):
        assert await cache.get_or_load("product", "1", load) == 1
        source.value = 2
        receipt = await (cache if where == "same process" else peer).invalidate(SCOPES[scope])
        assert receipt.acknowledged
        assert await cache.get("product", "1") is None
        assert await cache.get_or_load("product", "1", load) == 2
        assert await cache.get_or_load("product", "1", load) == 2
        assert source.loads == 2, "what was loaded after the invalidation lives"


@pytest.mark.parametrize("scope", OTHERS)
async def test_what_is_not_named_lives_on(redis_server: RedisServer, prefix: str, scope: str) -> None:
    source = Source()
    load = tagged(source, f"{prefix}.other.{scope}")
    async with make_manager(redis_server, prefix, product={}) as cache:
        await cache.get_or_load("product", "1", load)
        await cache.invalidate(OTHERS[scope])
        assert await cache.get_or_load("product", "1", load) == 1
        assert source.loads == 1


@pytest.mark.parametrize("scope", SCOPES)
async def test_an_invalidation_during_a_load_leaves_nothing_stale(
    redis_server: RedisServer, prefix: str, scope: str
) -> None:
    source = Source()
    load = tagged(source, f"{prefix}.inflight.{scope}")
    async with (
        make_manager(redis_server, prefix, product={}) as cache,
        make_manager(redis_server, prefix, product={}) as peer,
    ):
        source.gate.clear()
        slow = asyncio.create_task(cache.get_or_load("product", "1", load))
        await source.reading.wait()
        source.value = 2
        await peer.invalidate(SCOPES[scope])
        source.gate.set()
        assert await slow == 1, "this read began before the invalidation"
        assert await cache.get_or_load("product", "1", load) == 2
        assert await peer.get("product", "1") == 2


@pytest.mark.parametrize("scope", SCOPES)
async def test_who_joins_a_load_is_held_to_the_moment_they_began(
    redis_server: RedisServer, prefix: str, scope: str
) -> None:
    source = Source()
    load = tagged(source, f"{prefix}.join.{scope}")
    async with make_manager(redis_server, prefix, product={}) as cache:
        source.gate.clear()
        early = asyncio.create_task(cache.get_or_load("product", "1", load))
        await source.reading.wait()
        source.value = 2
        await cache.invalidate(SCOPES[scope])
        late = asyncio.create_task(cache.get_or_load("product", "1", load))
        await eventually(lambda: cache.counters.of("product").misses == 2, "the second caller waits")
        source.gate.set()
        assert await early == 1
        assert await late == 2
        assert source.loads == 2


async def test_get_miss_compute_set_is_a_load_by_hand(redis_server: RedisServer, prefix: str) -> None:
    async with (
        make_manager(redis_server, prefix) as cache,
        make_manager(redis_server, prefix, product={}) as peer,
    ):
        assert await cache.get("db_query", "k") is None
        computed = "before"
        await peer.delete("db_query", "k")
        assert not await cache.set("db_query", "k", computed), "it was computed before the invalidation"
        assert await cache.get("db_query", "k") is None
        assert await cache.set("db_query", "k", "after")
        assert await cache.get("db_query", "k") == "after"


async def test_tasks_do_not_take_each_others_marks(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.get("db_query", "unrelated")
        both_missed, may_set = asyncio.Event(), asyncio.Event()
        missed = 0

        async def by_hand(value: str) -> None:
            nonlocal missed
            await cache.get("db_query", "k")
            missed += 1
            if missed == 2:
                both_missed.set()
            await may_set.wait()
            await cache.set("db_query", "k", value)

        tasks = [asyncio.create_task(by_hand(value)) for value in ("a", "b")]
        await both_missed.wait()
        await cache.delete("db_query", "k")
        may_set.set()
        await asyncio.gather(*tasks)
        assert await cache.get("db_query", "k") is None


async def test_a_read_within_wait_for_leaves_its_mark_too(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:

        async def by_hand() -> None:
            await cache.get("db_query", "other")
            assert await asyncio.wait_for(cache.get("db_query", "k"), 30) is None
            await cache.delete("db_query", "k")
            await cache.set("db_query", "k", "before")
            assert await cache.get("db_query", "k") is None

        await asyncio.create_task(by_hand())


async def test_a_miss_that_was_answered_by_a_hit_since_counts_once(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as peer:
        assert await cache.get("db_query", "k") is None
        await peer.delete("db_query", "k")
        assert await peer.set("db_query", "k", 1)
        assert await cache.get("db_query", "k") == 1
        assert not await cache.set("db_query", "k", 2), "it may have been computed after that miss"
        assert await cache.get("db_query", "k") == 1
        assert await cache.set("db_query", "k", 3), "vouched for now"
        assert await cache.get("db_query", "k") == 3


async def test_no_commit_replaces_a_younger_one(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    async with make_manager(redis_server, prefix) as slow, make_manager(redis_server, prefix) as quick:
        source.gate.clear()
        task = asyncio.create_task(slow.get_or_load("db_query", "k", source.load))
        await source.reading.wait()
        await quick.invalidate(Tag("something else"))
        source.value = 2
        assert await quick.set("db_query", "k", 2)
        source.gate.set()
        assert await task == 1
        assert await quick.get("db_query", "k") == 2


async def test_a_stale_entry_that_was_invalidated_is_not_served(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    async with make_manager(redis_server, prefix, product={"ttl": 0.01, "stale": 60}) as cache:
        await cache.get_or_load("product", "1", source.load)
        source.value = 2
        await cache.delete("product", "nothing")
        await cache.invalidate(Key("product", "1"))
        assert await cache.get_or_load("product", "1", source.load) == 2


async def test_more_records_than_one_check_reads(redis_server: RedisServer, prefix: str) -> None:
    """A reply cut off by its COUNT is not a finished check."""
    async with (
        make_manager(redis_server, prefix) as cache,
        make_manager(redis_server, prefix, product={}) as peer,
    ):
        await cache.set("db_query", "k", 1)
        for batch in range(10):
            await asyncio.gather(*(peer.invalidate(Tag(f"t{batch}-{n}")) for n in range(100)))
        await peer.invalidate(Key("db_query", "k"))
        assert await cache.get("db_query", "k") is None


async def test_a_new_process_knows_what_was_invalidated_before_it_came(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("db_query", "dead", 1)
        await cache.set("db_query", "alive", 1)
        await cache.invalidate(Key("db_query", "dead"))
        async with make_manager(redis_server, prefix) as late:
            assert await late.get("db_query", "dead") is None
            assert await late.get("db_query", "alive") == 1


async def test_a_foreign_record_of_an_unknown_kind_kills_everything(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("db_query", "k", 1)
        redis_server.client().xadd(cache.keys.log, {"region": "eu"}, nomkstream=True)
        assert await cache.get("db_query", "k") is None


async def test_receipts_name_the_record(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, product={}) as cache:
        receipt = await cache.invalidate(
            Key("product", "1"), Tag("red"), by="a test", trace="abc", reason="to see it"
        )
        assert receipt.log_id
        client = redis_server.client()
        [(stream_id, fields)] = client.xrange(cache.keys.log, receipt.log_id, receipt.log_id)
        assert parse_position(stream_id) == parse_position(receipt.log_id)
        assert fields == {
            b"key": b"product:1",
            b"tag": b"red",
            b"_by": b"a test",
            b"_trace": b"abc",
            b"_reason": b"to see it",
        }


async def test_the_last_record_may_be_deleted(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        assert await cache.set("db_query", "k", 1)
        receipt = await cache.invalidate(Tag("a"))
        assert await cache.get("db_query", "k") == 1
        redis_server.client().xdel(cache.keys.log, receipt.log_id)
        await cache.get("db_query", "k")
        assert await cache.set("db_query", "k", 2)
        assert await cache.get("db_query", "k") == 2


async def test_nobody_joins_a_load_from_before_their_own_invalidation(
    own_redis_server: RedisServer,
) -> None:
    """Even when the server can't be asked right after it."""
    source = Source()
    async with make_manager(own_redis_server, "t") as cache:
        cache.link.timeout = 0.2
        source.gate.clear()
        early = asyncio.create_task(cache.get_or_load("db_query", "k", source.load))
        await source.reading.wait()
        source.value = 2
        assert (await cache.invalidate_type("db_query")).acknowledged
        own_redis_server.freeze()
        late = asyncio.create_task(cache.get_or_load("db_query", "k", source.load))
        await eventually(lambda: cache.counters.of("db_query").misses == 2, "the second caller waits")
        source.gate.set()
        assert (await early, await late) == (1, 2)
        own_redis_server.thaw()


async def test_more_scopes_than_one_record_holds_are_not_widened(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("db_query", "alive", 1)
        await cache.set("db_query", "0", 1)
        await cache.set("db_query", "5999", 1)
        receipt = await cache.invalidate(*(Key("db_query", str(number)) for number in range(6_000)))
        assert receipt.acknowledged
        # The epoch's record, and as few as hold the scopes.
        assert redis_server.client().xlen(cache.keys.log) == 1 + 6_000 // MAX_RECORD_SCOPES
        assert await cache.get("db_query", "alive") == 1
        assert await cache.get("db_query", "0") is None
        assert await cache.get("db_query", "5999") is None


async def test_many_readings_of_the_log_at_once_serve_nothing_stale(
    redis_server: RedisServer, prefix: str
) -> None:
    """The log is looked at anew while reads go on: none may meet a half-read history."""
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache:
        for number in range(300):
            await cache.invalidate(Tag(str(number)))
        await cache.set("db_query", "k", "old")
        await cache.invalidate(Key("db_query", "k"))

        async def read() -> None:
            for _ in range(50):
                assert await cache.get("db_query", "k") is None

        async def disturb() -> None:
            for _ in range(20):
                cache.log.lose()
                await asyncio.sleep(0)
                client.client_kill_filter(_type="normal", skipme=True)

        await asyncio.gather(*(read() for _ in range(10)), disturb())
