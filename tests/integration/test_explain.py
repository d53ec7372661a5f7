"""`explain` tells why a key is served or not, and by which record."""

from __future__ import annotations

import pytest

from stoker.core import Everything, Key, Pattern, Scope, Tag, Type
from stoker.core.log.scopes import Copy
from stoker.core.maintenance.explain import count_hit, explain, newest_records
from tests.managers import make_manager
from tests.servers import RedisServer


async def test_a_fresh_entry(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, product={"ttl": 100}) as cache:
        await cache.set("product", "1", {"price": 2}, tags=["red"])
        answer = await explain(cache, "product", "1")
        assert (answer.state, answer.value, answer.tags) == ("fresh", {"price": 2}, ["red"])
        assert answer.epoch == answer.log_epoch
        assert answer.fresh_for is not None
        assert 90 < answer.fresh_for <= 100
        assert answer.killed_by is None


@pytest.mark.parametrize(
    "scope", [Key("product", "1"), Tag("red"), Type("product"), Pattern("product", "1*"), Everything()]
)
async def test_a_dead_entry_names_the_record_that_killed_it(
    redis_server: RedisServer, prefix: str, scope: Scope
) -> None:
    async with make_manager(redis_server, prefix, product={}) as cache:
        await cache.set("product", "1", 1, tags=["red"])
        await cache.invalidate(Tag("unrelated"))
        await cache.log.tell(Copy("product", "1"))  # what it names lives on in Redis
        receipt = await cache.invalidate(scope, trace="abc", reason="a test")
        await cache.invalidate(scope)
        answer = await explain(cache, "product", "1")
        assert answer.state == "dead"
        assert answer.killed_by is not None
        assert answer.killed_by.log_id == receipt.log_id
        assert answer.killed_by.notes["trace"] == "abc"
        assert answer.value is None, "a dead value is not shown"


async def test_nothing_and_nonsense(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, product={}) as cache:
        assert (await explain(cache, "product", "none")).state == "absent"
        redis_server.client().set(cache.keys.entry("product", "1"), b"nonsense", px=10_000)
        assert (await explain(cache, "product", "1")).state == "undecodable"


async def test_the_audit_trail(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, product={}) as cache:
        await cache.invalidate(Key("product", "1"), by="me")
        newest = (await newest_records(cache, 1))[0]
        assert newest.scopes == ["key product:1"]
        assert newest.notes == {"by": "me"}


async def test_counting_what_an_invalidation_would_hit(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, product={}, page={}) as cache:
        for number in range(20):
            await cache.set("product", str(number), number, tags=["even" if number % 2 == 0 else "odd"])
        await cache.set("page", "1", 1, tags=["even"])
        cases: list[tuple[list[Scope], int]] = [
            ([Key("product", "1")], 1),
            ([Key("product", "99")], 0),
            ([Tag("even")], 11),
            ([Type("product")], 20),
            ([Pattern("product", "1*")], 11),
            ([Pattern("product", "1*"), Tag("odd")], 15),
            ([Everything()], 21),
        ]
        for scopes, expected in cases:
            assert await count_hit(cache, scopes) == expected, scopes
        assert await cache.get("product", "1") == 1, "nothing was done"
