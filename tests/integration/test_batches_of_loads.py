"""Many keys are loaded by one call; for everybody else each of them is a load of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from stoker.core import NOT_MODIFIED, CacheManager, Key, Tag, UsageError, loader
from stoker.core.entries.lookup import State
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.sources import hold_lease, until_state
from tests.waiting import eventually

BRIEF = 0.05


@dataclass
class Product:
    id: str
    price: int


class Shop:
    """A source that answers for many products at once."""

    def __init__(self) -> None:
        self.price = 1
        self.calls: list[list[str]] = []
        self.error: Exception | None = None
        self.unknown: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def load_many(self, ids: list[str]) -> dict[str, Product]:
        self.calls.append(sorted(ids))
        price, error = self.price, self.error
        await self.gate.wait()
        if error is not None:
            raise error
        return {id_: Product(id_, price) for id_ in ids if id_ not in self.unknown}

    async def load(self, id_: str) -> Product:
        return (await self.load_many([id_]))[id_]


def products(price: int, ids: str) -> dict[str, Product]:
    return {id_: Product(id_, price) for id_ in ids}


def counted(cache: CacheManager, *names: str) -> list[int]:
    counters = cache.counters.of("product")
    return [int(getattr(counters, name)) for name in names]


async def test_all_that_is_missing_is_loaded_by_one_call(redis_server: RedisServer, prefix: str) -> None:
    shop = Shop()
    async with make_manager(redis_server, prefix, product={}) as cache:
        assert await cache.get_or_load_many("product", list("aba"), shop.load_many) == products(1, "ab")
        shop.price = 2
        found = await cache.get_or_load_many("product", list("dbca"), shop.load_many)
        assert found == {**products(2, "dc"), **products(1, "ab")}
        assert list(found) == ["d", "b", "c", "a"]
        assert shop.calls == [["a", "b"], ["c", "d"]]
        assert counted(cache, "hits", "misses", "loads", "sets", "leases_won") == [2, 4, 2, 4, 4]
        assert await cache.get_or_load_many("product", [], shop.load_many) == {}
        await eventually(
            lambda: not redis_server.client().keys(f"{prefix}:l:*"), "all leases were given back"
        )


async def test_a_key_that_the_loader_leaves_out_is_neither_answered_nor_stored(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    shop.unknown = {"b"}
    async with make_manager(redis_server, prefix, product={}) as cache:
        assert await cache.get_or_load_many("product", list("ab"), shop.load_many) == products(1, "a")
        assert await cache.get("product", "b", "nothing") == "nothing"

        async def none_of(ids: list[str]) -> dict[str, Product | None]:
            return dict.fromkeys(ids)

        assert await cache.get_or_load_many("product", list("b"), none_of) == {"b": None}
        assert await cache.get("product", "b", "a default") is None, "that there is no such thing is stored"


async def test_each_value_has_its_own_tags_and_the_ttl_of_the_batch(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    async with make_manager(redis_server, prefix, product={"ttl": 3600}) as cache:
        await cache.get_or_load_many(
            "product", list("ab"), shop.load_many, tags=lambda product: [f"id:{product.id}"], ttl=7
        )
        assert 0 < redis_server.client().ttl(cache.keys.entry("product", "a")) <= 7
        await cache.invalidate(Tag("id:a"))
        assert await cache.get_or_load_many("product", list("ab"), shop.load_many) == products(1, "ab")
        assert shop.calls == [["a", "b"], ["a"]]


async def test_what_is_being_loaded_in_the_process_is_waited_for(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    shop.gate.clear()
    async with make_manager(redis_server, prefix, product={}) as cache:
        single = asyncio.create_task(cache.get_or_load("product", "a", shop.load, "a"))
        await eventually(lambda: shop.calls, "a is being loaded")
        many = asyncio.create_task(cache.get_or_load_many("product", list("abc"), shop.load_many))
        await eventually(lambda: len(shop.calls) == 2, "b and c are being loaded")
        joins = asyncio.create_task(cache.get_or_load("product", "b", shop.load, "b"))
        await eventually(lambda: counted(cache, "misses") == [5], "somebody waits for b alone")
        shop.gate.set()
        assert await single == Product("a", 1)
        assert await many == products(1, "abc")
        assert await joins == Product("b", 1)
        assert shop.calls == [["a"], ["b", "c"]]


async def test_a_reader_of_a_key_that_a_batch_leaves_out_loads_it(
    redis_server: RedisServer, prefix: str
) -> None:
    shop, other = Shop(), Shop()
    shop.gate.clear()
    shop.unknown = {"b"}
    async with make_manager(redis_server, prefix, product={}) as cache:
        many = asyncio.create_task(cache.get_or_load_many("product", list("ab"), shop.load_many))
        await eventually(lambda: shop.calls, "they are being loaded")
        single = asyncio.create_task(cache.get_or_load("product", "b", other.load, "b"))
        await eventually(lambda: counted(cache, "misses") == [3], "it joined")
        shop.gate.set()
        assert await many == products(1, "a")
        assert await single == Product("b", 1)


async def test_what_another_process_loads_is_waited_for_and_the_rest_is_loaded_meanwhile(
    redis_server: RedisServer, prefix: str
) -> None:
    shop, theirs = Shop(), Shop()
    theirs.gate.clear()
    theirs.price = 2
    async with (
        make_manager(redis_server, prefix, product={}) as cache,
        make_manager(redis_server, prefix, product={}) as other,
    ):
        first = asyncio.create_task(other.get_or_load_many("product", list("ab"), theirs.load_many))
        await eventually(lambda: theirs.calls, "a and b are being loaded elsewhere")
        second = asyncio.create_task(cache.get_or_load_many("product", list("bc"), shop.load_many))
        await eventually(lambda: counted(cache, "sets") == [1], "c was loaded meanwhile")
        lease, client = cache.keys.lease("product", "c"), redis_server.client()
        await eventually(lambda: not client.exists(lease), "its lease was given back at once")
        theirs.gate.set()
        assert await first == products(2, "ab")
        assert await second == {**products(2, "b"), **products(1, "c")}
        assert (shop.calls, theirs.calls) == ([["c"]], [["a", "b"]])
        assert counted(cache, "leases_waited", "loads_joined") == [1, 1]


async def test_what_nobody_brought_is_loaded_by_a_second_call(redis_server: RedisServer, prefix: str) -> None:
    shop = Shop()
    async with make_manager(redis_server, prefix, product={}) as cache:
        for key in "ab":
            hold_lease(redis_server, cache, "product", key, px=300)
        assert await cache.get_or_load_many("product", list("abc"), shop.load_many) == products(1, "abc")
        assert shop.calls == [["c"], ["a", "b"]]


async def test_a_batch_that_an_invalidation_overtook_is_stored_dead_and_serves_nobody_who_came_later(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    shop.gate.clear()
    async with make_manager(redis_server, prefix, product={}) as cache:
        early = asyncio.create_task(cache.get_or_load_many("product", list("ab"), shop.load_many))
        await eventually(lambda: shop.calls, "they are being loaded")
        await cache.invalidate(Key("product", "a"))
        shop.price = 2
        late = asyncio.create_task(cache.get_or_load_many("product", list("ab"), shop.load_many))
        await eventually(lambda: len(shop.calls) == 2, "a is loaded again")
        shop.gate.set()
        assert await early == products(1, "ab")
        assert await late == {**products(2, "a"), **products(1, "b")}
        assert shop.calls == [["a", "b"], ["a"]]
        assert await cache.get("product", "a", into=Product) == Product("a", 2)


async def test_a_batch_does_not_take_a_joined_result_that_an_invalidation_of_its_tag_has_killed(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    shop.gate.clear()
    load = loader(f"batches.{prefix}", cache_type="product", tags=lambda _: ["t"])(shop.load)
    async with make_manager(redis_server, prefix, product={}) as cache:
        early = asyncio.create_task(cache.get_or_load("product", "a", load, "a"))
        await eventually(lambda: shop.calls, "a is being loaded")
        await cache.invalidate(Tag("t"))
        shop.price = 2
        late = asyncio.create_task(cache.get_or_load_many("product", list("a"), shop.load_many))
        await eventually(lambda: counted(cache, "misses") == [2], "the batch joined")
        shop.gate.set()
        assert await early == Product("a", 1)
        assert await late == products(2, "a")


async def test_a_failure_reaches_all_who_wait_unless_every_key_has_something_to_answer_with(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    policy = {"ttl": BRIEF, "fail_safe": 60, "fail_safe_throttle": 3600}
    async with make_manager(redis_server, prefix, product=policy) as cache:
        await cache.get_or_load_many("product", list("ab"), shop.load_many)
        for key in "ab":
            await until_state(cache, "product", key, State.STALE)
        shop.error = ConnectionError("down")
        with pytest.raises(ConnectionError):
            await cache.get_or_load_many("product", list("abc"), shop.load_many)
        assert counted(cache, "fail_safe_serves", "load_failures") == [0, 1]
        assert await cache.get_or_load_many("product", list("ab"), shop.load_many) == products(1, "ab")
        assert counted(cache, "fail_safe_serves", "throttled") == [2, 2], "it failed for them a moment ago"
        assert len(shop.calls) == 2


async def test_a_slow_batch_goes_on_behind_what_is_old(redis_server: RedisServer, prefix: str) -> None:
    shop = Shop()
    policy = {"ttl": BRIEF, "fail_safe": 60, "soft_timeout": 0.05}
    async with make_manager(redis_server, prefix, product=policy) as cache:
        await cache.get_or_load_many("product", list("ab"), shop.load_many)
        for key in "ab":
            await until_state(cache, "product", key, State.STALE)
        shop.gate.clear()
        shop.price = 2
        assert await cache.get_or_load_many("product", list("ab"), shop.load_many) == products(1, "ab")
        assert counted(cache, "soft_timeouts", "fail_safe_serves") == [1, 2]
        shop.gate.set()
        await eventually(lambda: counted(cache, "sets") == [4], "they were stored")


async def test_stale_keys_are_loaded_again_behind_the_answer_by_one_call(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    async with make_manager(redis_server, prefix, product={"ttl": BRIEF, "stale": 60}) as cache:
        await cache.get_or_load_many("product", list("abc"), shop.load_many)
        for key in "abc":
            await until_state(cache, "product", key, State.STALE)
        await eventually(lambda: not redis_server.client().keys(f"{prefix}:l:*"), "the leases are free")
        hold_lease(redis_server, cache, "product", "c")
        shop.price = 2
        shop.gate.clear()
        for _ in range(3):
            assert await cache.get_or_load_many("product", list("abc"), shop.load_many) == products(1, "abc")
            await eventually(lambda: len(shop.calls) == 2, "what nobody else loads is loaded")
        shop.gate.set()
        await eventually(lambda: counted(cache, "sets") == [5], "they were stored")
        assert shop.calls == [["a", "b", "c"], ["a", "b"]]


@pytest.mark.parametrize("answer", [None, ["a"], {"a": NOT_MODIFIED}])
async def test_an_answer_that_is_no_mapping_of_values_is_a_mistake(
    redis_server: RedisServer, prefix: str, answer: Any
) -> None:
    async def wrong(_: list[str]) -> Mapping[str, str]:
        found: Mapping[str, str] = answer
        return found

    async with make_manager(redis_server, prefix, product={}) as cache:
        with pytest.raises(UsageError, match="wrong"):
            await cache.get_or_load_many("product", ["a"], wrong)
        assert not redis_server.client().exists(cache.keys.entry("product", "a"))


async def test_a_batch_that_is_cancelled_gives_its_leases_back(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    shop.gate.clear()
    cache = make_manager(redis_server, prefix, product={})
    await cache.connect()
    many = asyncio.create_task(cache.get_or_load_many("product", list("ab"), shop.load_many))
    await eventually(lambda: shop.calls, "they are being loaded")
    assert len(redis_server.client().keys(f"{prefix}:l:*")) == 2
    await cache.close(timeout=0.01)
    with pytest.raises(Exception, match="cancelled while others waited"):
        await many
    assert not redis_server.client().keys(f"{prefix}:l:*")


async def test_a_caller_that_gives_up_does_not_take_the_batch_away(
    redis_server: RedisServer, prefix: str
) -> None:
    shop = Shop()
    shop.gate.clear()
    async with make_manager(redis_server, prefix, product={}) as cache:
        many = asyncio.create_task(cache.get_or_load_many("product", list("ab"), shop.load_many))
        await eventually(lambda: shop.calls, "they are being loaded")
        many.cancel()
        shop.gate.set()
        await eventually(lambda: counted(cache, "sets") == [2], "they were stored")


async def test_a_view_takes_its_namespace_off_the_keys(redis_server: RedisServer, prefix: str) -> None:
    shop = Shop()
    async with make_manager(redis_server, prefix, product={}) as cache:
        view = cache.cache("product", namespace="eu")
        assert await view.get_or_load_many(list("ab"), shop.load_many) == products(1, "ab")
        assert await view.get_or_load_many(list("ab"), shop.load_many) == products(1, "ab")
        assert shop.calls == [["a", "b"]]
        assert await cache.get("product", "eu:a", into=Product) == Product("a", 1)


async def test_a_key_that_is_no_text_is_a_mistake(redis_server: RedisServer, prefix: str) -> None:
    async def load(keys: list[str]) -> Any:
        return dict.fromkeys(map(int, keys), "x")

    async with make_manager(redis_server, prefix, product={}) as cache:
        with pytest.raises(UsageError, match="no text"):
            await cache.get_or_load_many("product", ["1"], load)
