"""Stored bytes that nobody can read are a miss, and go; what somebody else may read stays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from stoker.core import CacheManager
from tests.managers import make_manager
from tests.servers import RedisServer

TIERS = pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"]])
KEEP_MS = 60_000


@dataclass(frozen=True)
class Seat:
    row: int
    number: int


@dataclass
class Person:
    name: str


def manager(server: RedisServer, prefix: str, tiers: list[str], **policy: object) -> CacheManager:
    return make_manager(server, prefix, page={"ttl": 60, "tiers": tiers, **policy})


async def stored_form(server: RedisServer, cache: CacheManager, value: object) -> bytes:
    """The bytes of a value, no longer in the cache."""
    assert await cache.set("page", "k", value)
    found: bytes = server.client().getdel(cache.keys.entry("page", "k"))
    cache.memory.remove("page", "k")
    return found


@TIERS
async def test_what_is_no_entry_or_is_damaged_goes(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers, compress_above=64) as cache:
        whole = await stored_form(redis_server, cache, {"text": "a" * 500})
        client, name = redis_server.client(), cache.keys.entry("page", "k")
        scrambled = whole[:60] + b"\xff" * (len(whole) - 60)
        damaged = [b"\0", b"{'old': 'format'}", b"SK\x01", whole[:-3], scrambled]
        for number, data in enumerate(damaged, 1):
            client.set(name, data, px=KEEP_MS)
            assert await cache.get("page", "k") is None
            assert not client.exists(name), data
            assert cache.counters.of("page").unreadable_unlinked == number
        plain = await stored_form(redis_server, cache, [1, 2, 3])
        for data in (b"junk", *(plain[:length] for length in range(1, len(plain)))):
            client.set(name, data, px=KEEP_MS)
            assert await cache.get_many("page", ["k", "other"]) == {}
            assert not client.exists(name), data


@TIERS
@pytest.mark.parametrize("damaged", [b"\xc8tag", b"\x03\xff\xfe\xfd"], ids=["cut off", "no UTF-8"])
async def test_what_has_damaged_tags_is_a_miss_for_every_read(
    redis_server: RedisServer, prefix: str, tiers: list[str], damaged: bytes
) -> None:
    """Nobody can say whether it was invalidated, whatever else was."""

    async def load() -> int:
        return 2

    async with manager(redis_server, prefix, tiers, stale=60) as cache:
        assert await cache.set("page", "k", 1, tags=["tag"])
        client, name = redis_server.client(), cache.keys.entry("page", "k")
        whole: bytes = client.getdel(name)
        cache.memory.remove("page", "k")
        fresh = whole.replace(b"\x03tag", damaged)
        stale = fresh[:36] + bytes(8) + fresh[44:]
        assert fresh != whole
        for data in (fresh, stale):
            client.set(name, data, px=KEEP_MS)
            assert not await cache.exists("page", "k")
            assert await cache.get("page", "k") is None
            assert not client.exists(name)
            client.set(name, data, px=KEEP_MS)
            assert await cache.get_many("page", ["k"]) == {}
            client.set(name, data, px=KEEP_MS)
            assert await cache.get_or_load("page", "k", load) == 2
            assert await cache.delete("page", "k") == 1


@TIERS
async def test_what_a_newer_version_has_written_stays(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with manager(redis_server, prefix, tiers) as cache:
        whole = await stored_form(redis_server, cache, 1)
        client, name = redis_server.client(), cache.keys.entry("page", "k")
        client.set(name, b"SK\x02" + whole[3:], px=KEEP_MS)
        assert await cache.get("page", "k") is None
        assert await cache.get_many("page", ["k"]) == {}
        assert client.exists(name)
        assert cache.counters.of("page").unreadable_unlinked == 0


async def test_a_value_of_another_type_than_was_asked_for_stays(
    redis_server: RedisServer, prefix: str
) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set("page", "k", [1, 2, 3])
        assert await cache.get("page", "k", into=Person) is None
        assert await cache.get_many("page", ["k"], into=Person) == {}
        assert await cache.get("page", "k") == [1, 2, 3]


async def test_a_value_that_must_be_read_as_its_type_stays(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        seats = {Seat(1, 2): "ann"}
        await cache.set("page", "k", seats)
        assert await cache.get("page", "k") is None
        assert await cache.get_many("page", ["k"]) == {}
        assert await cache.get("page", "k", into=dict[Seat, str]) == seats


async def test_who_only_looks_unlinks_nothing(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        name = cache.keys.entry("page", "k")
        redis_server.client().set(name, b"junk", px=KEEP_MS)
        async with CacheManager(cache.config, read_only=True) as looking:
            assert await looking.get("page", "k") is None
            assert await looking.get_many("page", ["k"]) == {}
        assert redis_server.client().exists(name)


async def test_what_nothing_can_be_decoded_into_is_a_miss(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set("page", "k", 1)
        kind: Any = asyncio.Event
        assert await cache.get("page", "k", into=kind) is None
        assert await cache.get_many("page", ["k"], into=kind) == {}
        assert await cache.get("page", "k") == 1


async def test_what_is_too_large_for_this_process_alone_stays(redis_server: RedisServer, prefix: str) -> None:
    async with (
        manager(redis_server, prefix, ["redis"], max_entry=1 << 20) as roomy,
        manager(redis_server, prefix, ["redis"], max_entry=2048) as tight,
    ):
        compressed, incompressible = "a" * 100_000, bytes(range(256)) * 300
        await roomy.set("page", "compressed", compressed)
        await roomy.set("page", "long", incompressible)
        assert await tight.get("page", "compressed") is None
        assert await tight.get("page", "long") is None
        assert await roomy.get("page", "compressed") == compressed
        assert await roomy.get("page", "long", into=bytes) == incompressible


async def test_what_was_stored_since_it_was_looked_at_stays(redis_server: RedisServer, prefix: str) -> None:
    async with manager(redis_server, prefix, ["redis"]) as cache:
        await cache.set("page", "k", 1)
        client, name = redis_server.client(), cache.keys.entry("page", "k")
        assert not await cache.tier.unlink_unreadable("page", "k", b"what stood there before")
        assert not await cache.tier.unlink_unreadable("page", "k", client.get(name)[:20])
        assert await cache.get("page", "k") == 1
