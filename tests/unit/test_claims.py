"""Two different functions never share their entries, and what is gone holds nothing."""

from __future__ import annotations

import enum
import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager, MemoryCache, SyncCacheManager, UsageError, cached
from stoker.core.decorators import claims
from stoker.core.loading.loaders import registered
from tests.stores import Dictionary


def make(cache: MemoryCache, kind: str) -> Any:
    if kind == "one":

        @cached(cache, "branches")
        async def run(number: int) -> str:
            return "one"

    else:

        @cached(cache, "branches")
        async def run(number: int) -> str:
            return "two"

    return run


async def test_two_functions_of_one_name_are_refused() -> None:
    cache = MemoryCache()

    @cached(cache, "pages")
    async def index() -> str:  # pyright: ignore[reportRedeclaration]
        return "first"

    first = index
    with pytest.raises(UsageError, match=r"another .*index of this cache is there already \(.*, line \d+\)"):

        @cached(cache, "pages")
        async def index() -> str:  # pyright: ignore[reportRedeclaration]
            return "second"

    @cached(cache, "other")  # type: ignore[no-redef]
    async def index() -> str:
        return "second"

    assert [await first(), await index()] == ["first", "second"]


async def test_branches_that_make_functions_of_one_name_are_refused_though_the_first_is_gone() -> None:
    """What it stored is still there."""
    cache = MemoryCache()
    assert await make(cache, "one")(1) == "one"
    gc.collect()
    with pytest.raises(UsageError, match="give each a namespace"):
        make(cache, "two")
    assert await make(cache, "one")(1) == "one"


def test_lambdas_need_a_namespace_each() -> None:
    with SyncCacheManager(CacheConfig(backend="memory")) as cache:
        with pytest.raises(UsageError, match="a lambda has no name"):
            cached(cache, cache_type="db_query")(lambda n: n)
        plus = cached(cache, "p", cache_type="db_query")(lambda n: n + 1)
        with pytest.raises(UsageError, match="give each a namespace"):
            cached(cache, "p", cache_type="db_query")(lambda n: n * 5)
        times = cached(cache, "times", cache_type="db_query")(lambda n: n * 5)
        assert [plus(1), times(1)] == [2, 5]


def test_views_of_one_face_are_one_cache() -> None:
    with SyncCacheManager(CacheConfig(backend="memory")) as cache:

        @cached(cache.cache("db_query"), "p")
        def find(number: int) -> str:
            return "first"

        with pytest.raises(UsageError, match="give each a namespace"):

            @cached(cache.cache("db_query"), "p")
            def find(number: int) -> str:
                return "second"

        assert find(1) == "first"


def of_default(cache: MemoryCache, source: Any) -> Any:
    @cached(cache, "defaults", ignore=["source"])
    async def load(number: int, source: Any = source) -> Any:
        return [source, number]

    return load


async def test_defaults_that_tell_nothing_apart_are_seen_like_other_variables() -> None:
    cache = MemoryCache()
    first = of_default(cache, "a")
    with pytest.raises(UsageError, match="sees other variables"):
        of_default(cache, "b")
    again = of_default(cache, "a")
    assert await first(1) == await again(1) == ["a", 1]


def create_app(cache: MemoryCache, *sources: object) -> Callable[..., Any]:
    """What it makes refers to itself, as applications do."""

    @cached(cache, "users")
    async def get_user(number: int) -> list[Any]:
        return [number, len(sources)] if number else await get_user(1)

    class App:
        user = get_user

    vars(get_user)["app"] = App
    return get_user


class Database:
    """Is told apart by being the same one."""


class Region(enum.StrEnum):
    EU = "eu"
    US = "us"


MADE_OF: list[tuple[object, ...]] = [
    (),
    ("a",),
    ("b",),
    (1,),
    (True,),
    (1.5, b"x", None),
    (("a", 1), frozenset({2})),
    (("a", 2), frozenset({2})),
    (date(2026, 1, 1), Decimal("1.0")),
    (date(2026, 1, 1), Decimal("1.00")),
    (Region.EU,),
    (Region.US,),
]


def made_of_two(cache: MemoryCache, one: object, other: object) -> Callable[..., Any]:
    @cached(cache, "pairs")
    async def get_pair(number: int) -> list[Any]:
        return [number, one, other]

    return get_pair


@pytest.mark.parametrize(("sees", "other"), list(zip(MADE_OF, [*MADE_OF[1:], MADE_OF[0]], strict=True)))
async def test_a_factory_may_be_called_again_where_what_it_makes_sees_the_same(
    sees: tuple[object, ...], other: tuple[object, ...]
) -> None:
    """Whether what it made first is there or gone, and though that may not have been collected yet."""
    cache = MemoryCache()
    gc.disable()
    try:
        first = create_app(cache, *sees)
        again = create_app(cache, *sees)
        assert await first(0) == await again(0) == [1, len(sees)]
        del first, again
        assert await create_app(cache, *sees)(1) == [1, len(sees)]
        with pytest.raises(UsageError, match="sees other variables"):
            create_app(cache, *other)
    finally:
        gc.enable()


async def test_a_factory_may_be_called_again_with_the_very_same_object() -> None:
    cache, database = MemoryCache(), Database()
    assert await made_of_two(cache, database, "a")(1)
    gc.collect()
    assert await made_of_two(cache, database, "a")(1)
    for other in (Database(), None, "a"):
        gc.collect()
        with pytest.raises(UsageError, match=r"what it stored may still be there: give each a namespace"):
            made_of_two(cache, other, "a")


@pytest.mark.parametrize("make", [Database, list, dict, lambda: [1], lambda: ([],)])
async def test_what_was_made_of_an_object_that_is_gone_or_may_change_is_like_nothing_else(
    make: Callable[[], object],
) -> None:
    cache, thing = MemoryCache(), make()
    assert await made_of_two(cache, thing, 1)(1)
    del thing
    gc.collect()
    with pytest.raises(UsageError, match="sees other variables"):
        made_of_two(cache, make(), 1)


async def test_what_requests_make_is_not_shared_between_them() -> None:
    cache = MemoryCache()
    rows = {"acme": {1: "acme's"}, "globex": {1: "globex's"}}

    async def handle(tenant: str, namespace: str) -> str:
        @cached(cache, namespace)
        async def get(number: int) -> str:
            return rows[tenant][number]

        return await get(1)

    assert await handle("acme", "rows") == await handle("acme", "rows") == "acme's"
    with pytest.raises(UsageError, match="sees other variables"):
        await handle("globex", "rows")
    assert await handle("globex", "rows of globex") == "globex's"


def test_what_is_not_known_yet_is_like_nothing_else() -> None:
    cache = MemoryCache()

    def make(value: str) -> Any:
        @cached(cache, "later")
        async def get() -> str:
            return source

        source = value
        return get

    first = make("a")
    for value in ("a", "b"):
        with pytest.raises(UsageError, match="sees other variables"):
            make(value)
    del first


@dataclass
class Unhashable(Dictionary):
    """Equal to others of its kind, and of no hash."""

    def __post_init__(self) -> None:
        super().__init__()


async def test_a_store_that_cant_be_hashed_serves_functions_made_by_others() -> None:
    one, other = Unhashable(), Unhashable()
    assert one == other

    def closure(store: Unhashable, source: str) -> Any:
        @cached(store, "p")
        async def load(number: int) -> str:
            return source

        return load

    first, second = closure(one, "a"), closure(other, "b")
    assert [await first(1), await second(1)] == ["a", "b"]
    with pytest.raises(UsageError, match="sees other variables"):
        closure(one, "c")


async def test_names_of_functions_that_are_gone_are_not_remembered_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "MAX_NAMES", 5)
    cache = MemoryCache()

    def for_a_while(number: int, source: object = None) -> Any:
        @cached(cache, f"request{number}")
        async def load() -> int:
            return number if source is None else 0

        return load

    kept = for_a_while(-1)
    for number in range(20):
        assert await for_a_while(number)() == number
        gc.collect()
    names = claims.names_in(cache.manager)
    assert len(names._claims) <= 5
    assert len(names._readers) <= 5
    with pytest.raises(UsageError, match="sees other variables"):
        for_a_while(-1, object())
    assert await kept() == -1


def test_servers_of_which_no_function_is_left_are_not_remembered_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "MAX_PLACES", 5)
    monkeypatch.setattr(claims, "_shared", {})

    def for_a_while(place: int) -> Any:
        @cached(CacheManager(CacheConfig(prefix=f"p{place}")), cache_type="db_query")
        async def load() -> int:
            return place

        return load

    kept = for_a_while(-1)
    for place in range(20):
        for_a_while(place)
        gc.collect()
    assert len(claims._shared) <= 5
    assert claims.names_in(CacheManager(CacheConfig(prefix="p-1")))._claims
    assert kept.key()


def test_a_function_that_is_refused_has_no_name() -> None:
    """It can be mended, and decorated again."""
    cache = MemoryCache()

    async def refused() -> threading.Event:
        raise NotImplementedError

    async def mended() -> int:
        return 1

    mended.__qualname__ = refused.__qualname__
    with pytest.raises(UsageError, match="can be made from what is stored"):
        cached(cache, "p")(refused)
    assert cached(cache, "p")(mended).key().startswith("p:")


async def test_functions_that_are_gone_hold_no_cache() -> None:
    """Neither their registration nor their names keep a cache and its memory."""
    before = len(registered())
    gone: list[weakref.ref[Any]] = []
    for number in range(3):
        cache = MemoryCache()

        @cached(cache, f"rows{number}")
        async def rows(count: int) -> bytes:
            return b"x" * count

        assert await rows(10) == b"x" * 10
        assert any(spec.name.startswith(f"rows{number}:") for spec in registered())
        gone.append(weakref.ref(cache.manager))
        await cache.close()
        del cache, rows
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    assert len(registered()) <= before
