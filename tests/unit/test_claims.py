"""Two different functions never share their entries, and what is gone holds nothing."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stoker.core import CacheConfig, MemoryCache, SyncCacheManager, UsageError, cached
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


def create_app(cache: MemoryCache, source: object) -> Callable[..., Any]:
    """What it makes refers to itself, as applications do."""

    @cached(cache, "users")
    async def get_user(number: int) -> list[Any]:
        return [number, source is not None]

    class App:
        user = get_user

    vars(get_user)["app"] = App
    return get_user


async def test_a_factory_may_be_called_again_when_what_it_made_is_gone() -> None:
    """Also if nobody has collected it yet."""
    cache = MemoryCache()
    gc.disable()
    try:
        first = create_app(cache, object())
        with pytest.raises(UsageError, match="sees other variables"):
            create_app(cache, object())
        assert await first(1) == [1, True]
        del first
        assert await create_app(cache, object())(1) == [1, True]
    finally:
        gc.enable()


MODULE = """
from stoker.core import MemoryCache, cached

try:
    cache
except NameError:
    cache = MemoryCache()


@cached(cache, "reloaded")
async def load(number: int) -> int:
    return number * {factor}
"""


def test_a_module_that_is_reloaded_may_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # pyright: ignore[reportUnknownMemberType]
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "stoker_reloaded.py"
    file.write_text(MODULE.format(factor=1))
    module = importlib.import_module("stoker_reloaded")
    try:
        first, cache = module.load, module.cache
        file.write_text(MODULE.format(factor=10))
        importlib.reload(module)
        assert module.cache is cache
        assert module.load is not first
        assert module.load.key(1) == first.key(1)
    finally:
        del sys.modules["stoker_reloaded"]


def test_a_module_may_not_have_two_of_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # pyright: ignore[reportUnknownMemberType]
    second = MODULE[MODULE.index("@cached") :]
    (tmp_path / "stoker_twice.py").write_text((MODULE + second).format(factor=1))
    with pytest.raises(UsageError, match="another load of this cache is there already"):
        importlib.import_module("stoker_twice")


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
