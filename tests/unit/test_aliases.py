"""Older names do what the methods do that they stand for, and are told of in one place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from stoker.core import (
    Cache,
    CacheConfig,
    CacheInterface,
    CacheManager,
    InMemoryCache,
    MemoryCache,
    SyncCache,
    SyncCacheManager,
    UsageError,
    aliases,
    hash_key,
)
from tests.pages import text_of

#: What is async itself, or for the worker.
NOT_WITHOUT_A_LOOP = {"client", "redis", "peek", "reload", "share_marks"}

ALONE = CacheConfig(backend="memory")

TABLE = {
    name: names
    for left, right in re.findall(r"^\| (`.*`) \| (`.*`) \|$", aliases.__doc__ or "", re.MULTILINE)
    for name, names in zip(re.findall(r"`(\w+)`", left), re.findall(r"`(\w+)`", right), strict=True)
}


class Recorder(MemoryCache):
    """Notes what is called under the names that are not older ones."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if name in TABLE.values():
            self.called.append(name)
        return super().__getattribute__(name)


async def load(number: int) -> int:
    return number


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "initialize": (),
    "disconnect": (),
    "get_or_set": ("k", load, 5),
    "get_ttl": ("k",),
    "clear_namespace": (),
    "_hash_key": ("data",),
}


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_an_alias_calls_what_it_stands_for(name: str) -> None:
    cache = Recorder()
    answer = getattr(cache, name)(*ARGUMENTS[name])
    if name != "_hash_key":
        answer = await answer
    assert TABLE[name] in cache.called
    other = getattr(cache, TABLE[name])(*ARGUMENTS[name])
    assert answer == (other if name == "_hash_key" else await other)
    await cache.close()


def test_all_aliases_stand_in_the_table() -> None:
    mixins = (aliases.LifeAliases, aliases.ManagerAliases, aliases.KeyedAliases, aliases.ViewAliases)
    bases = {base for mixin in mixins for base in mixin.__mro__[:-1]}
    defined = {name for base in bases for name in vars(base) if not name.startswith("__")}
    assert defined == set(TABLE) == {*ARGUMENTS, "redis"}


def test_the_page_tells_of_all_of_them() -> None:
    page = text_of("library.md")
    assert [name for name in (*TABLE, "InMemoryCache", "nx=") if f"`{name}`" not in page] == []


def test_callers_without_an_event_loop_have_them_too() -> None:
    """All but the raw client, which is an async one; and whatever a manager and a view have."""
    with SyncCacheManager(ALONE) as face:
        assert face.initialize()
        assert face.get_or_set("db_query", "k", load, 5) == face.get_or_set("db_query", "k", int, "6") == 5
        left = face.get_ttl("db_query", "k")
        assert left is not None
        assert left > 0
        view = face.cache("db_query", namespace="n")
        assert view.get_or_set("k", int, "7") == view.get_or_load("k", load, 5) == 7
        assert view.get_ttl("k") is not None
        assert view.hash_key({"a": 1}) == view._hash_key({"a": 1}) == hash_key({"a": 1})
        assert view.read("k", load, 5).outcome == "hit"
        assert view.get_or_load_many(["k", "l"], lambda keys: dict.fromkeys(keys, 1)) == {"k": 7, "l": 1}
        assert view.local_stats().cached_keys == 2
        assert face.local_stats("db_query").cached_keys == 3
        assert face.policy("db_query") == face.config.policy("db_query")
        assert view.clear_beginning("l")
        assert [view.get("k"), view.get("l")] == [7, None]
        assert view.clear_namespace()
        assert view.get("k") is None
        assert face.get("db_query", "k") == 5
        face.disconnect()
    for plain, awaited in ((SyncCache, Cache), (SyncCacheManager, CacheManager)):
        lacking = {name for name in dir(awaited) if not name.startswith("_")} - set(dir(plain))
        assert lacking <= NOT_WITHOUT_A_LOOP, lacking


def test_a_view_without_an_event_loop_refuses_at_once_what_the_other_refuses() -> None:
    with SyncCacheManager(ALONE) as face:
        view: Any = face.cache("db_query")
        with pytest.raises(UsageError, match="a key is a str, not int"):
            view.key(5)
        with pytest.raises(UsageError, match="'a:b' can't be a namespace"):
            face.cache("db_query", namespace="a:b")
        with pytest.raises(UsageError, match="no cache type is called 'nope'"):
            face.cache("nope")


async def test_a_manager_has_them_too() -> None:
    cache = CacheManager(ALONE)
    assert await cache.initialize()
    assert await cache.get_or_set("session", "k", load, 5) == 5
    assert await cache.get_ttl("session", "k") == pytest.approx(await cache.ttl("session", "k"), abs=5)
    with pytest.raises(UsageError, match="in memory alone"):
        _ = cache.redis
    await cache.disconnect()
    assert InMemoryCache is MemoryCache


class Small(CacheInterface):
    """The least that a store of one's own has."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def get(self, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True) -> Any:
        return self.values.get(key, default)

    async def set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        *,
        tags: Iterable[str] = (),
        if_absent: bool = False,
        nx: bool = False,
    ) -> bool:
        self.values[key] = value
        return True

    async def delete(self, key: str) -> int:
        return int(self.values.pop(key, None) is not None)

    async def clear(self) -> bool:
        self.values.clear()
        return True

    async def ttl(self, key: str) -> float | None:
        return 60.0 if key in self.values else None

    async def expire(self, key: str, ttl: float) -> bool:
        return key in self.values

    async def increment(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int | None:
        return amount


async def test_a_store_of_one_s_own_has_what_is_built_upon_its_methods() -> None:
    cache = Small()
    assert await cache.set_many({"a": 1, "b": 2}, 60) == 2
    assert await cache.get_ttl("a") == 60.0
    assert await cache.decrement("n", 3) == -3
    stats = await cache.get_stats()
    assert (stats.backend, stats.connected, stats.hits) == ("Small", True, 0)
    await cache.reset_stats()
    assert cache.hash_key({"b": 1, "a": 2}) == cache._hash_key({"a": 2, "b": 1}) == hash_key({"a": 2, "b": 1})
    assert await cache.clear_namespace()
    assert await cache.get_many(["a", "b"]) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, "1"), (1, True), (-1, -2), (None, ""), ([1], (1,)), ({"a": 1}, {"a": "1"}), ("a:b", ["a", "b"])],
)
def test_different_data_never_have_one_key(one: Any, other: Any) -> None:
    assert hash_key(one) != hash_key(other)
    assert re.fullmatch(r"[0-9a-f]{64}", hash_key(one))


def test_what_can_t_be_told_from_others_is_refused() -> None:
    with pytest.raises(UsageError, match="data can't be hashed: a object can't be part of a key"):
        hash_key({"model": object()})


def test_keys_of_data_are_the_same_in_every_version() -> None:
    prompt = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.7}
    assert hash_key(prompt) == GOLDEN


GOLDEN = "010563dcd177e3ae337cdbf5a7b2fc428577f98a4b93dcb021263b032b57eaf7"
