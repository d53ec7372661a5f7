"""What callers store, change in place and count, against a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stoker.core import CacheManager, Key, Tag, UsageError
from stoker.core.maintenance.sweep import sweep
from tests.managers import make_manager
from tests.servers import RedisServer

TIERS = pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"], ["memory"]])


def manager(server: RedisServer, prefix: str, tiers: list[str], **policy: Any) -> CacheManager:
    return make_manager(server, prefix, page={"ttl": 60, "tiers": tiers, **policy})


@TIERS
async def test_batches_are_stored_and_read_together(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        values: dict[str, Any] = {f"k{n}": {"n": n} for n in range(300)} | {"none": None}
        assert await cache.set_many("page", values, tags=["all"]) == 301
        assert await cache.get_many("page", [*values, "missing", "k1"]) == values
        assert await cache.delete_many("page", ["k0", "k1", "missing"]) == 2
        assert await cache.get_many("page", ["k0", "k1", "k2"]) == {"k2": {"n": 2}}
        await cache.invalidate_tags("all")
        assert await cache.get_many("page", values) == {}


async def test_batches_of_nothing_are_nothing(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        assert await cache.get_many("page", []) == {}
        assert await cache.set_many("page", {}) == 0
        assert await cache.delete_many("page", []) == 0


async def test_a_foreign_kind_of_key_in_a_batch_is_a_miss_and_others_are_read(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set_many("page", {"a": 1, "c": 3})
        redis_server.client().lpush(cache.keys.entry("page", "b"), "x")
        assert await cache.get_many("page", ["a", "b", "c"]) == {"a": 1, "c": 3}
        assert cache.counters.of("page").undecodable == 1
        assert await cache.set("page", "b", 2)
        assert await cache.get_many("page", ["a", "b", "c"]) == {"a": 1, "b": 2, "c": 3}


@TIERS
async def test_the_time_to_live_can_be_read_and_changed(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        assert await cache.ttl("page", "k") is None
        assert not await cache.exists("page", "k")
        assert not await cache.touch("page", "k")
        await cache.set("page", "k", "v", ttl=5)
        left = await cache.ttl("page", "k")
        assert left is not None
        assert 0 < left <= 5
        assert await cache.touch("page", "k")
        left = await cache.ttl("page", "k")
        assert left is not None
        assert 5 < left <= 60
        assert await cache.expire("page", "k", 3)
        left = await cache.ttl("page", "k")
        assert left is not None
        assert 0 < left <= 3
        assert await cache.exists("page", "k")
        assert await cache.get("page", "k") == "v"


@TIERS
async def test_what_was_invalidated_is_not_revived_by_a_longer_life(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        await cache.set("page", "k", "v", tags=["t"])
        await cache.invalidate(Tag("t"))
        assert not await cache.touch("page", "k")
        assert not await cache.expire("page", "k", 30)
        assert not await cache.exists("page", "k")
        assert await cache.get("page", "k") is None


async def test_a_longer_life_reaches_the_servers_own_expiry(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"], stale=10) as cache:
        await cache.set("page", "k", "v", ttl=1)
        await cache.expire("page", "k", 40)
        assert 49_000 < redis_server.client().pttl(cache.keys.entry("page", "k")) <= 50_000


@TIERS
async def test_of_many_who_set_if_absent_one_does(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        answers = await asyncio.gather(*(cache.set("page", "k", n, if_absent=True) for n in range(20)))
        assert sum(answers) == 1
        assert await cache.get("page", "k") == answers.index(True)
        assert not await cache.set("page", "k", "other", if_absent=True)
        await cache.invalidate(Key("page", "k"))
        assert await cache.set("page", "k", "after", if_absent=True)
        assert await cache.get("page", "k") == "after"


async def test_set_if_absent_is_exclusive_across_processes(redis_server: RedisServer, prefix: str) -> None:
    policy: dict[str, Any] = {"lock": {"ttl": 60, "kind": "authoritative"}}
    async with (
        make_manager(redis_server, prefix, **policy) as one,
        make_manager(redis_server, prefix, **policy) as two,
    ):
        for n in range(20):
            answers = await asyncio.gather(
                one.set("lock", f"l{n}", "one", if_absent=True),
                two.set("lock", f"l{n}", "two", if_absent=True),
            )
            assert sum(answers) == 1
            assert await one.get("lock", f"l{n}") == ("one" if answers[0] else "two")


@TIERS
async def test_a_value_with_a_token_is_stored_dead_if_the_key_was_invalidated_since(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache, manager(redis_server, prefix, tiers) as other:
        token = await cache.fill("page", "k")
        assert await cache.set("page", "k", "fresh", token=token)
        assert await cache.get("page", "k") == "fresh"
        token = await cache.fill("page", "k")
        await other.invalidate(Key("page", "k"))
        await asyncio.create_task(cache.set("page", "k", "computed before", token=token))
        assert await other.get("page", "k") is None
        await cache.log.catch_up()
        assert await cache.get("page", "k") is None
        with pytest.raises(UsageError, match="the token is for page:k, not page:other"):
            await cache.set("page", "other", 1, token=token)


@TIERS
async def test_write_through_stores_what_the_source_has_now(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        await cache.set("page", "k", "old")
        async with cache.write_through("page", "k") as write:
            write.value, write.tags, write.ttl = "new", ["t"], 30
        assert write.stored
        assert write.receipt.acknowledged
        assert await cache.get("page", "k") == "new"
        left = await cache.ttl("page", "k")
        assert left is not None
        assert left <= 30
        await cache.invalidate(Tag("t"))
        assert await cache.get("page", "k") is None


@TIERS
async def test_write_through_of_two_who_overlap_leaves_nobodys_value(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache, manager(redis_server, prefix, tiers) as other:
        async with cache.write_through("page", "k") as first:
            first.value = "first"
            async with other.write_through("page", "k") as second:
                second.value = "second"
        assert second.stored
        assert not first.stored
        await other.log.catch_up()
        for reader in (cache, other):
            assert await reader.get("page", "k") is None


async def test_write_through_that_fails_invalidates_and_without_a_value_too(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set("page", "k", "old")
        write = cache.write_through("page", "k")

        async def fail() -> None:
            async with write:
                write.value = "new"
                raise RuntimeError("no commit")

        with pytest.raises(RuntimeError, match="no commit"):
            await fail()
        assert not write.stored
        assert await cache.get("page", "k") is None
        await cache.set("page", "k", "old")
        async with cache.write_through("page", "k"):
            pass
        assert await cache.get("page", "k") is None


async def test_counters_are_atomic_and_end_with_their_ttl_or_a_delete(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        assert await cache.counter("page", "n") is None
        counts = await asyncio.gather(*(cache.increment("page", "n", ttl=30) for _ in range(50)))
        assert sorted(count or 0 for count in counts) == list(range(1, 51))
        assert await cache.decrement("page", "n", 8) == 42
        assert await cache.counter("page", "n") == 42
        assert 0 < redis_server.client().pttl(cache.keys.counter("page", "n")) <= 30_000
        assert await cache.increment("page", "n", 2**63 - 1) is None  # would overflow: it stays as it is
        assert await cache.counter("page", "n") == 42
        assert await cache.delete("page", "n") == 1
        assert await cache.counter("page", "n") is None
        for wrong in (True, 1.5, "1", 2**63):
            with pytest.raises(UsageError, match="64-bit integer"):
                await cache.increment("page", "n", wrong)  # type: ignore[arg-type]


async def test_a_miss_inside_wait_for_marks_the_set_after_it(redis_server: RedisServer, prefix: str) -> None:
    """`wait_for` may run the read in a task of its own, whose context is gone when the caller sets."""
    async with (
        manager(redis_server, prefix, ["redis"]) as cache,
        manager(redis_server, prefix, ["redis"]) as other,
    ):

        async def compute() -> None:
            assert await asyncio.wait_for(cache.get("page", "k"), 10) is None
            await other.invalidate(Key("page", "k"))
            await cache.set("page", "k", "computed before")

        await asyncio.create_task(compute())
        assert await other.get("page", "k") is None
        found = await asyncio.gather(cache.get("page", "a"), cache.get("page", "b"))
        assert list(found) == [None, None]
        await other.invalidate(Key("page", "a"))
        await cache.set_many("page", {"a": 1, "b": 2})
        assert await other.get_many("page", ["a", "b"]) == {"b": 2}


async def test_a_batch_that_missed_marks_every_key(redis_server: RedisServer, prefix: str) -> None:
    async with (
        manager(redis_server, prefix, ["redis"]) as cache,
        manager(redis_server, prefix, ["redis"]) as other,
    ):
        assert await cache.get_many("page", ["a", "b"]) == {}
        await other.invalidate(Key("page", "b"))
        await cache.set_many("page", {"a": 1, "b": 2})
        assert await other.get_many("page", ["a", "b"]) == {"a": 1}


async def test_a_set_that_is_vouched_for_now_lives_through_a_sweep(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        for n in range(20):
            await cache.invalidate(Key("page", f"k{n}"))
        await cache.set("page", "k", "v")
        await cache.invalidate(Key("page", "other"))
        result = await sweep(cache, minimum_age=0.0, minimum_records=1)
        assert result.status == "done"
        assert await cache.get("page", "k") == "v"


async def test_large_counts_are_exact(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        for start in (2**53, 2**63 - 4, -(2**63)):
            key = f"n{start}"
            assert await cache.increment("page", key, start) == start
            assert [await cache.increment("page", key) for _ in range(3)] == [start + 1, start + 2, start + 3]


async def test_bytes_that_are_too_short_for_an_entry_cost_their_own_key_alone(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set("page", "fine", 1)
        for data in (b"S", b"SK", b"SK\x01", b"SK\x01\x00" + bytes(30)):
            redis_server.client().set(cache.keys.entry("page", "short"), data, px=60_000)
            assert await cache.get_many("page", ["fine", "short"]) == {"fine": 1}
            assert await cache.get("page", "short") is None


@pytest.mark.parametrize("wrong", [{"tags": 5}, {"tags": "one"}, {"ttl": -1}, {"ttl": None, "tags": None}])
async def test_write_through_with_wrong_tags_or_ttl_invalidates_all_the_same(
    redis_server: RedisServer, prefix: str, wrong: dict[str, Any]
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
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


@TIERS
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
