"""What a service relies on when it reads and writes through `CacheManager`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from stoker.core import CacheManager, Tag, UsageError, loader
from stoker.core.recipe import Recipe
from stoker.core.settings.policy import BUILTIN_TYPES
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually


@dataclass
class Product:
    id: int
    price: float


class Item(BaseModel):
    name: str


class Source:
    """A source of truth that counts how often it is asked."""

    def __init__(self) -> None:
        self.price = 1.0
        self.loads = 0
        self.gate: asyncio.Event | None = None
        self.started = asyncio.Event()

    async def load(self, product_id: int) -> Product:
        self.loads += 1
        price = self.price
        self.started.set()
        if self.gate is not None:
            await self.gate.wait()
        return Product(product_id, price)


async def test_the_built_in_types_are_there(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        for name in BUILTIN_TYPES:
            assert await cache.set(name, "k", {"type": name})
            assert await cache.get(name, "k") == {"type": name}
        ttls = {name: cache.policy(name).ttl for name in BUILTIN_TYPES}
    assert ttls == {
        "llm_response": 7200,
        "stt_transcription": 86400,
        "tts_synthesis": 86400,
        "session": 1800,
        "db_query": 300,
    }


async def test_entries_expire_in_redis_with_their_ttl(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, product={"ttl": 100, "stale": 20}) as cache:
        await cache.set("product", "a", 1)
        await cache.set("product", "b", 1, ttl=5)
        client = redis_server.client()
        assert 110_000 < client.pttl(cache.keys.entry("product", "a")) <= 120_000
        assert 20_000 < client.pttl(cache.keys.entry("product", "b")) <= 25_000


async def test_none_is_a_value(redis_server: RedisServer, prefix: str) -> None:
    source = Source()

    async def nothing() -> Product | None:
        source.loads += 1
        return None

    async with make_manager(redis_server, prefix) as cache:
        assert await cache.get_or_load("db_query", "k", nothing) is None
        assert await cache.get_or_load("db_query", "k", nothing) is None
        assert await cache.get("db_query", "k", "a default") is None
    assert source.loads == 1


async def test_a_key_is_loaded_once_for_all_who_wait(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    source.gate = asyncio.Event()
    async with make_manager(redis_server, prefix) as cache:
        waiting = [asyncio.create_task(cache.get_or_load("db_query", "k", source.load, 1)) for _ in range(50)]
        await source.started.wait()
        counters = cache.counters.of("db_query")
        await eventually(lambda: counters.misses == 50, "all callers wait")
        source.gate.set()
        assert await asyncio.gather(*waiting) == [Product(1, 1.0)] * 50
        assert (source.loads, counters.loads_joined) == (1, 49)


async def test_a_caller_that_gives_up_does_not_take_the_load_away(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    source.gate = asyncio.Event()
    async with make_manager(redis_server, prefix) as cache:
        first = asyncio.create_task(cache.get_or_load("db_query", "k", source.load, 1))
        second = asyncio.create_task(cache.get_or_load("db_query", "k", source.load, 1))
        await eventually(lambda: cache.counters.of("db_query").misses == 2, "both wait")
        first.cancel()
        source.gate.set()
        assert await second == Product(1, 1.0)
        assert source.loads == 1


async def test_what_the_loader_raises_reaches_all_who_wait(redis_server: RedisServer, prefix: str) -> None:
    async def fail() -> None:
        raise LookupError("no such product")

    async with make_manager(redis_server, prefix) as cache:
        results = await asyncio.gather(
            *(cache.get_or_load("db_query", "k", fail) for _ in range(3)), return_exceptions=True
        )
        assert [str(error) for error in results] == ["no such product"] * 3
        assert await cache.get("db_query", "k", "nothing stored") == "nothing stored"


async def test_registered_loaders_bring_their_type_their_tags_and_their_ttl(
    redis_server: RedisServer, prefix: str
) -> None:
    @loader("tests.product", cache_type="product", tags=lambda product: [f"price:{product.price}"], ttl=7)
    async def load_product(product_id: int) -> Product:
        return Product(product_id, 2.0)

    async with make_manager(redis_server, prefix, product={"ttl": 100}) as cache:
        first = await cache.get_or_load("product", "1", load_product, 1)
        again = await cache.get_or_load("product", "1", load_product, 1)
        assert first == again == Product(1, 2.0), "a hit is of the loader's own type"
        assert redis_server.client().ttl(cache.keys.entry("product", "1")) <= 7
        await cache.invalidate_tags("price:2.0")
        assert await cache.get("product", "1") is None


async def test_stale_entries_are_served_while_they_are_loaded_again(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    async with make_manager(redis_server, prefix, product={"ttl": 0.05, "stale": 60}) as cache:
        await cache.get_or_load("product", "1", source.load, 1)
        source.price = 2.0
        states = (await cache.peek("product", ["1"]))[0]
        assert states is not None

        async def turned_stale() -> bool:
            state = (await cache.peek("product", ["1"]))[0]
            return state is not None and state.state == "stale"

        await eventually(turned_stale, "the TTL passes")
        stale = await cache.get_or_load("product", "1", source.load, 1)
        assert stale == Product(1, 1.0)
        await eventually(lambda: source.loads == 2, "a load behind")
        assert cache.counters.of("product").stale_hits == 1


async def test_any_stored_bytes_read_as_a_miss(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as cache:
        name = cache.keys.entry("db_query", "k")
        junk: list[Any] = [b"", b"\0", b"SK", b"SK\x01\x00" + b"\xff" * 60, b"x" * 5000]
        for number, data in enumerate(junk):
            client.set(name, data, px=60_000)
            assert await cache.get("db_query", "k") is None
            assert await cache.get_or_load("db_query", "k", source.load, number) == Product(number, 1.0)
        client.delete(name)
        client.rpush(name, "a list")
        client.expire(name, 60)
        assert await cache.get_or_load("db_query", "k", source.load, 9) == Product(9, 1.0)
        assert cache.counters.of("db_query").undecodable >= 5


async def test_a_value_that_cannot_be_stored_is_answered_false(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, small={"max_entry": 100}) as cache:
        assert not await cache.set("small", "k", object())
        assert not await cache.set("small", "k", "x" * 200)
        assert await cache.get_or_load("small", "k", make_object) is not None
        assert cache.counters.of("small").unstorable == 3


async def make_object() -> object:
    return object()


async def test_arguments_that_make_no_sense_are_refused(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        with pytest.raises(UsageError, match="db_query"):
            await cache.get("no_such_type", "k")
        with pytest.raises(UsageError, match="hash long texts"):
            await cache.get("db_query", "x" * 513)
        with pytest.raises(UsageError, match="positive"):
            await cache.set("db_query", "k", 1, ttl=0)
        with pytest.raises(UsageError, match="nothing to invalidate"):
            await cache.invalidate_tags()


@pytest.mark.parametrize("key", [5, b"5", None, "", "\ud800", "x" * 513])
async def test_keys_and_tags_that_are_none_are_refused_before_anything_is_sent(
    redis_server: RedisServer, prefix: str, key: Any
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        written, source = cache.link.writes, Source()
        bad: list[Callable[[], Awaitable[object]]] = [
            lambda: cache.get("db_query", key),
            lambda: cache.set("db_query", key, 1),
            lambda: cache.set("db_query", "k", 1, tags=[key]),
            lambda: cache.get_or_load("db_query", key, source.load, 1),
            lambda: cache.reload("db_query", key, Recipe("tests.unknown")),
            lambda: cache.peek("db_query", ["k", key]),
            lambda: cache.delete("db_query", key),
            lambda: cache.invalidate_tags("fine", key),
            lambda: cache.invalidate_pattern("db_query", key),
        ]
        for call in bad:
            with pytest.raises(UsageError):
                await call()
        assert (cache.link.writes, source.loads) == (written, 0)
        assert cache.counters.of("db_query").deletes == 0
        assert await cache.get("db_query", "k") is None, "the connection is as it was"


async def test_notes_that_cannot_be_sent_are_refused(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        for name in ("by", "trace", "reason"):
            notes: dict[str, Any] = {name: "\ud800"}
            with pytest.raises(UsageError, match="surrogate"):
                await cache.invalidate(Tag("a"), **notes)


async def test_tags_are_several_texts(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        with pytest.raises(UsageError, match="several texts"):
            await cache.set("db_query", "k", 1, tags="abc")


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 11 * 365 * 86400, "60", True])
async def test_ttls_that_are_none_are_refused(redis_server: RedisServer, prefix: str, ttl: Any) -> None:
    async with make_manager(redis_server, prefix) as cache:
        with pytest.raises(UsageError, match="TTL"):
            await cache.set("db_query", "k", 1, ttl=ttl)


async def test_a_hit_is_of_the_type_of_a_miss(redis_server: RedisServer, prefix: str) -> None:
    calls = 0

    async def load_several() -> list[Item] | None:
        nonlocal calls
        calls += 1
        return [Item(name="tea")]

    source = Source()
    async with make_manager(redis_server, prefix) as cache:
        for _ in range(2):
            assert await cache.get_or_load("db_query", "several", load_several) == [Item(name="tea")]
            assert await cache.get_or_load("db_query", "one", source.load, 1) == Product(1, 1.0)
        plain: Any = await cache.get_or_load("db_query", "one", lambda: source.load(1))
        assert plain == {"id": 1, "price": 1.0}, "a lambda has no annotation"
    assert (calls, source.loads) == (1, 1)


async def test_delete_says_whether_there_was_an_entry(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("db_query", "k", 1)
        assert await cache.delete("db_query", "k") == 1
        assert await cache.delete("db_query", "k") == 0


async def test_the_documented_aliases(redis_server: RedisServer, prefix: str) -> None:
    cache: CacheManager = make_manager(redis_server, prefix)
    await cache.initialize()
    source = Source()
    assert await cache.get_or_set("db_query", "k", source.load, 1) == Product(1, 1.0)
    await cache.disconnect()


async def test_a_reading_tells_how_the_value_came_about(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    async with make_manager(redis_server, prefix, product={"ttl": 0.2, "stale": 60}) as cache:
        outcomes: list[str] = []

        async def read() -> str:
            reading = await cache.read("product", "1", source.load, 1)
            outcomes.append(reading.outcome)
            assert reading.age >= 0
            return reading.outcome

        assert await read() == "miss"

        async def stale() -> bool:
            return await read() == "stale"

        await eventually(stale, "the TTL passes")
        assert set(outcomes) <= {"miss", "hit", "stale"}
