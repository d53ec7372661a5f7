"""Loaders keep their signature and name; recipes survive being stored."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import gc
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import ConfigError, UnknownLoaderError, UsageError
from stoker.core.loading.loaders import (
    find,
    find_by_function,
    import_loaders,
    loader,
    registered,
    returned_by,
)
from stoker.core.recipe import MAX_RECIPE_BYTES, Recipe

if TYPE_CHECKING:
    from stoker.core.errors import StokerError as Absent


@loader("tests.double", cache_type="db_query", tags=lambda value: [f"v{value}"])
async def double(number: int) -> int:
    return number * 2


async def test_a_loader_stays_the_function_it_was() -> None:
    assert await double(4) == 8
    spec = find("tests.double", "page", "here")
    assert find_by_function(double) is spec
    assert (spec.cache_type, spec.returns) == ("db_query", int)
    assert spec in registered()


def test_a_name_stands_for_one_function() -> None:
    with pytest.raises(UsageError, match="two loaders"):

        @loader("tests.double", cache_type="db_query")
        async def other() -> None: ...


def test_only_async_functions_load() -> None:
    with pytest.raises(UsageError, match="async def"):
        loader("tests.sync", cache_type="db_query")(lambda: None)  # type: ignore[arg-type, return-value]


class Stranger:
    """A class that no serializer knows."""


def test_a_type_that_cannot_be_made_from_stored_bytes_is_refused_at_once() -> None:
    async def load() -> list[Stranger]:
        return []

    with pytest.raises(UsageError, match=r"loader 'tests.strange'.*Stranger"):
        loader("tests.strange", cache_type="db_query")(load)
    with pytest.raises(UnknownLoaderError):
        find("tests.strange", "page", "here")


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 11 * 365 * 86400, "60", True])
def test_a_ttl_that_is_none_is_refused(ttl: Any) -> None:
    with pytest.raises(UsageError, match="TTL"):
        loader("tests.ttl", cache_type="db_query", ttl=ttl)


@loader("tests.later", cache_type="db_query")
async def load_later() -> Later:
    return Later(1)


@dataclass
class Later:
    number: int


class Source:
    async def load(self, _absent: Absent) -> Later:
        return Later(2)

    async def __call__(self) -> Later:
        return Later(3)

    __hash__ = None  # type: ignore[assignment]


def not_async() -> Awaitable[Later]:
    return load_later()


def future() -> asyncio.Future[Later]:
    return asyncio.get_running_loop().create_future()


async def absent() -> Absent:
    raise NotImplementedError


async def nothing() -> None: ...


async def anything() -> object: ...


async def unannotated():  # type: ignore[no-untyped-def]
    ...


@functools.wraps(load_later)
def wrapped() -> Any:
    return load_later()


@pytest.mark.parametrize(
    ("function", "returns"),
    [
        (load_later, Later),
        (Source().load, Later),
        (Source(), Later),
        (not_async, Later),
        (future, Later),
        (wrapped, Later),
        (absent, Any),
        (nothing, Any),
        (anything, Any),
        (unannotated, Any),
        (lambda: load_later(), Any),  # noqa: PLW0108  a lambda has no annotation
        (functools.partial(load_later), Any),
        (asyncio.sleep, Any),
        (print, Any),
    ],
    ids=str,
)
def test_what_a_function_returns(function: Callable[..., Any], returns: Any) -> None:
    for _ in range(2):
        assert returned_by(function) is returns
    assert find_by_function(function) is (
        find("tests.later", "page", "here") if function is load_later else None
    )


def test_a_loader_may_return_what_is_defined_after_it() -> None:
    assert find("tests.later", "page", "here").returns is Later


def test_functions_made_for_one_call_are_let_go() -> None:
    def make() -> Callable[[], Awaitable[Later]]:
        async def load() -> Later:
            return Later(4)

        return load

    made = make()
    assert returned_by(made) is Later
    gone = ref(made)
    del made
    gc.collect()
    assert gone() is None


def test_a_function_whose_type_cannot_be_made_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Callable[[], Awaitable[Stranger]]:
        async def load() -> Stranger:
            return Stranger()

        return load

    with caplog.at_level(logging.WARNING):
        assert [returned_by(make()) for _ in range(3)] == [Stranger] * 3
    assert [record.__dict__["action"] for record in caplog.records] == ["undecodable_type"]


def test_a_loader_that_is_not_registered_says_where_to_list_it() -> None:
    with pytest.raises(UnknownLoaderError, match="under `loaders`"):
        find("tests.nowhere", "page", "here")


def test_modules_are_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_loaders_here.py").write_text(
        "from stoker.core import loader\n@loader('mine', cache_type='db_query')\nasync def mine(): return 1\n"
    )
    import_loaders(["my_loaders_here"])
    assert find("mine", "page", "here").cache_type == "db_query"


@pytest.mark.parametrize("module", ["no.such.module", "tests.unit.broken_module"])
def test_a_module_that_cannot_be_imported_is_named(module: str) -> None:
    with pytest.raises(ConfigError, match=module):
        import_loaders([module])


@given(
    st.lists(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=3),
)
def test_recipes_survive_being_stored(args: list[Any], kwargs: dict[str, Any]) -> None:
    recipe = Recipe("tests.double", tuple(args), kwargs)
    assert Recipe.unpack(recipe.pack()) == recipe


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "args", [(object(),), ("x" * 10_000,), (Colour.RED,), ((1, 2),), ([Later(1)],), ({"a": {1}},)]
)
def test_arguments_that_cannot_be_kept_are_refused(args: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        Recipe("tests.double", args).pack()
    assert Recipe.of("tests.double", args, {}) is None
    assert Recipe.of("tests.double", (), {"what": args}) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**64), 2**65) | st.text() | st.binary(max_size=9_000),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_what_can_be_stored_of_a_call_is_kept(argument: Any) -> None:
    kept = Recipe.of("tests.double", (argument,), {})
    try:
        packed = Recipe("tests.double", (argument,)).pack()
    except UsageError:
        assert kept is None or len(msgspec.msgpack.encode(kept)) > MAX_RECIPE_BYTES
    else:
        assert kept is not None
        assert kept.pack() == packed


@given(st.binary(max_size=100))
def test_any_bytes_are_a_recipe_or_a_usage_error(data: bytes) -> None:
    with contextlib.suppress(UsageError):
        Recipe.unpack(data)


def test_deep_arguments_are_refused() -> None:
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(UsageError, match="can't be kept"):
        Recipe("tests.double", (deep,)).pack()
