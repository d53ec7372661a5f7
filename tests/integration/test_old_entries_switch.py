"""What an older cache wrote is taken over only if nothing that was invalidated since comes back with it."""

from __future__ import annotations

import json

import pytest

from stoker.core import (
    Everything,
    Key,
    Pattern,
    Scope,
    Tag,
    Type,
)
from stoker.core.maintenance.sweep import sweep
from tests.managers import make_manager
from tests.old_caches import Product, Source, load_tagged, old_of, there, until_removed, write_old
from tests.servers import RedisServer

SCOPES: list[Scope] = [
    Key("db_query", "42"),
    Tag("category:1"),
    Type("db_query"),
    Pattern("db_query", "4*"),
    Everything(),
]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: type(scope).__name__)
async def test_what_was_invalidated_since_the_switch_is_not_taken(
    redis_server: RedisServer, prefix: str, scope: Scope
) -> None:
    for key in ("41", "42"):
        write_old(redis_server, f"{prefix}-old:{key}", {"name": f"old {key}", "category": 1})
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as other:
        old = old_of(cache, prefix)
        load = old.before(load_tagged)
        receipt = await other.invalidate(scope)  # before anybody has read it through Stoker
        assert receipt.acknowledged

        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "new 42"
        assert old.counts.refused == 1


async def test_what_others_invalidated_leaves_the_rest_to_be_taken(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:42", {"name": "old 42", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        await cache.invalidate(Key("db_query", "7"), Tag("category:2"), Type("session"))
        load = old_of(cache, prefix).before(load_tagged)

        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "old 42"


@pytest.mark.parametrize("keep", [False, True])
async def test_what_was_taken_does_not_come_back_after_an_invalidation(
    redis_server: RedisServer, prefix: str, keep: bool
) -> None:
    write_old(redis_server, f"{prefix}-old:42", {"name": "old 42", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        load = old_of(cache, prefix, keep=keep).before(load_tagged)
        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "old 42"
        if not keep:
            await until_removed(redis_server, f"{prefix}-old:42")
        assert there(redis_server, f"{prefix}-old:42") is keep

        await cache.invalidate_tags("category:1")

        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "new 42"


@pytest.mark.parametrize("made_before", [False, True], ids=["made once", "made without tags before"])
async def test_tags_that_an_old_value_is_given_count_whatever_was_made_of_the_loader_before(
    redis_server: RedisServer, prefix: str, made_before: bool
) -> None:
    write_old(redis_server, f"{prefix}-old:42", {"name": "old 42", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix)
        await cache.invalidate_tags("team:7")
        if made_before:
            old.before(load_tagged)
        load = old.before(load_tagged, tags=lambda _, key: [f"team:{int(key) - 35}"])

        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "new 42"
        assert old.counts.refused == 1


async def test_an_old_value_is_stored_with_the_tags_it_is_given(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:42", {"name": "old 42"})  # without what the loader's tags go by
    async with make_manager(redis_server, prefix) as cache:
        load = old_of(cache, prefix).before(load_tagged, tags=lambda _value, _key: ["team:7"])
        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "old 42"
        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "old 42"

        await cache.invalidate_tags("team:7")

        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "new 42"
        await cache.invalidate_tags("category:7")
        assert await cache.get("db_query", "42") is None, "what was loaded has the loader's own"


async def test_an_invalidation_that_comes_while_an_old_entry_is_read_refuses_it(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:42", {"name": "old", "category": 1})
    source = Source()

    def decode(data: bytes) -> Product:
        client = redis_server.client()
        assert client.execute_command("XADD", f"{prefix}:log", "NOMKSTREAM", "*", "key", "db_query:42"), (
            "somebody else invalidates"
        )
        client.close()
        return Product(**json.loads(data))

    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix, decode=decode, keep=True)
        load = old.before(source.load)
        first = await cache.get_or_load("db_query", "42", load, "42")
        second = await cache.get_or_load("db_query", "42", load, "42")

    assert first.name == "new 42"
    assert second.name == "new 42"
    assert (old.counts.taken, old.counts.refused) == (0, 1)


async def test_a_process_that_starts_later_goes_by_the_same_switch(
    redis_server: RedisServer, prefix: str
) -> None:
    for key in ("1", "2"):
        write_old(redis_server, f"{prefix}-old:{key}", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as first:
        assert await old_of(first, prefix).get("db_query", "1") is not None
        await first.delete("db_query", "2")

    async with make_manager(redis_server, prefix) as second:
        assert await old_of(second, prefix).get("db_query", "2") is None


async def test_once_the_log_was_swept_nothing_is_taken(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:1", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix)
        assert await old.get("db_query", "nothing") is None  # notes the switch
        await cache.delete("db_query", "1")
        for number in range(3):
            await cache.delete("db_query", f"other {number}")
        assert (await sweep(cache, minimum_age=0, minimum_records=1)).trimmed

        assert await old.get("db_query", "1") is None
        assert old.counts.refused == 1
    async with make_manager(redis_server, prefix) as later:
        assert await old_of(later, prefix).get("db_query", "1") is None


@pytest.mark.parametrize(("after_rollback", "found"), [("revalidate", None), ("trust", "old")])
async def test_lost_history_ends_it_unless_the_type_trusts_the_server(
    redis_server: RedisServer,
    own_redis_server: RedisServer,
    prefix: str,
    after_rollback: str,
    found: str | None,
) -> None:
    for key in ("1", "2"):
        write_old(redis_server, f"{prefix}-old:{key}", "old")
    policy = {"after_rollback": after_rollback, "ttl": 600}
    async with (
        make_manager(own_redis_server, "mine", page=policy) as cache,
        old_of(cache, prefix, url=redis_server.url) as old,
    ):
        assert await old.get("page", "1") == "old"
        client = own_redis_server.client()
        for group in client.xinfo_groups("mine:log"):
            client.xgroup_destroy("mine:log", group["name"])
        client.close()
        cache.log.lose()
        assert await cache.log.resync()

        assert await old.get("page", "2") == found


async def test_old_entries_get_no_older_than_the_types_own(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:1", "old", ttl=86_400)
    write_old(redis_server, f"{prefix}-old:2", "old", ttl=86_400)
    async with make_manager(redis_server, prefix, page={"ttl": 100}) as cache:
        old = old_of(cache, prefix)
        assert await old.get("page", "1") == "old"
        left = await cache.ttl("page", "1")
        assert left is not None
        assert left <= 100

        client = redis_server.client()
        (note,) = client.keys(f"{prefix}:switch:*")
        epoch, position, at_ms = client.get(note).decode().split(":")
        client.set(note, f"{epoch}:{position}:{int(at_ms) - 101_000}", ex=100)  # that was 101 s ago
        client.close()

        assert await old_of(cache, prefix).get("page", "2") is None
