"""Loaders keep their signature and name; recipes survive being stored."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import ConfigError, UnknownLoaderError, UsageError
from stoker.core.loaders import Recipe, find, find_by_function, import_loaders, loader, registered


@loader("tests.double", cache_type="db_query", tags=lambda value: [f"v{value}"])
async def double(number: int) -> int:
    return number * 2


async def test_a_loader_stays_the_function_it_was() -> None:
    assert await double(4) == 8
    spec = find("tests.double")
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


def test_a_loader_that_is_not_registered_says_where_to_list_it() -> None:
    with pytest.raises(UnknownLoaderError, match="under `loaders`"):
        find("tests.nowhere")


def test_modules_are_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_loaders_here.py").write_text(
        "from stoker.core import loader\n@loader('mine', cache_type='db_query')\nasync def mine(): return 1\n"
    )
    import_loaders(["my_loaders_here"])
    assert find("mine").cache_type == "db_query"


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


@pytest.mark.parametrize("args", [(object(),), ("x" * 10_000,)])
def test_arguments_that_cannot_be_kept_are_refused(args: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        Recipe("tests.double", args).pack()


@given(st.binary(max_size=100))
def test_any_bytes_are_a_recipe_or_a_usage_error(data: bytes) -> None:
    with contextlib.suppress(UsageError):
        Recipe.unpack(data)
