"""Where several texts are meant, one text is refused: it would count as its letters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from stoker.core import CacheManager, UsageError
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.stores import Dictionary


async def load_many(keys: list[str]) -> dict[str, str]:
    return dict.fromkeys(keys, "loaded")


MANY: dict[str, Callable[[CacheManager, Any], Awaitable[Any]]] = {
    "get_many": lambda cache, keys: cache.get_many("page", keys),
    "get_or_load_many": lambda cache, keys: cache.get_or_load_many("page", keys, load_many),
    "delete_many": lambda cache, keys: cache.delete_many("page", keys),
    "peek": lambda cache, keys: cache.peek("page", keys),
    "get_many of a view": lambda cache, keys: cache.cache("page").get_many(keys),
    "get_or_load_many of a view": lambda cache, keys: cache.cache("page").get_or_load_many(keys, load_many),
    "delete_many of a view": lambda cache, keys: cache.cache("page").delete_many(keys),
}


@pytest.mark.parametrize("call", MANY.values(), ids=MANY)
async def test_keys_are_not_the_letters_of_a_text(
    redis_server: RedisServer, prefix: str, call: Callable[[CacheManager, Any], Awaitable[Any]]
) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        await cache.set_many("page", {"4": 1, "2": 1, "42": 1})
        for wrong, message in (
            ("42", r"keys are several texts: write \['42'\] for one"),
            (b"42", r"keys are several texts: write \[b'42'\] for one"),
            (None, "keys are several texts, not NoneType"),
            ([["a"]], "a key is a str"),
        ):
            with pytest.raises(UsageError, match=message):
                await call(cache, wrong)
        assert len(await cache.get_many("page", ["4", "2", "42"])) == 3


async def test_a_store_of_ones_own_does_not_take_a_text_for_its_letters() -> None:
    store = Dictionary()
    store.values = {"4": 1, "2": 2, "42": 3}
    with pytest.raises(UsageError, match="tags are several texts"):
        await store.set_many({"k": 1}, tags="news")
    for call in (store.get_many, store.delete_many):
        with pytest.raises(UsageError, match="keys are several texts"):
            await call("42")
    assert store.values == {"4": 1, "2": 2, "42": 3}


@dataclass
class Point:
    x: int


class Decoding(Dictionary):
    """Keeps plain data, and makes of it what is asked for."""

    async def get(self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True) -> Any:
        found = self.values.get(key, default)
        return found if found is default or into is Any else into(**found)

    async def set(self, key: str, value: Any, ttl: float | None = None, **options: Any) -> bool:
        return await super().set(key, vars(value), ttl, **options)


async def test_a_hit_of_a_store_of_ones_own_is_of_the_type_of_a_miss() -> None:
    async def load(x: int) -> Point:
        return Point(x)

    store = Decoding()
    assert [await store.get_or_load("k", load, 1) for _ in range(2)] == [Point(1), Point(1)]


async def test_counters_are_changed_by_integers_up_and_down(redis_server: RedisServer, prefix: str) -> None:
    wrong: Any
    async with make_manager(redis_server, prefix, page={}) as cache:
        view = cache.cache("page")
        for wrong in ("1", True, 1.5, None, 2**63):
            for change in (view.increment, view.decrement, Dictionary().decrement):
                with pytest.raises(UsageError, match="64-bit integer"):
                    await change("n", wrong)
            with pytest.raises(UsageError, match="64-bit integer"):
                await cache.decrement("page", "n", wrong)
        assert await cache.counter("page", "n") is None
