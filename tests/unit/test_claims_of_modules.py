"""Modules that are loaded again, of one name or file, or typed in: whose entries are whose."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from stoker.core import MemoryCache, UsageError, cached

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


PLUGIN = """
TABLE = {table!r}

async def fetch(number: int) -> str:
    return TABLE + {what!r}
"""


def load_plugin(file: Path, table: str, what: str = "") -> Any:
    """As programs load plugins: by file, and not among the modules."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(PLUGIN.format(table=table, what=what))
    spec = importlib.util.spec_from_file_location("plugin", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("what", ["", "!"], ids=["the same code", "other code"])
async def test_two_files_of_one_module_name_are_two_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    cache = MemoryCache()
    price = load_plugin(tmp_path / "a" / "plugin.py", "price")
    assert await cached(cache, "p")(price.fetch)(1) == "price"
    stock = load_plugin(tmp_path / "b" / "plugin.py", "stock", what)
    with pytest.raises(UsageError, match="give each a namespace"):
        cached(cache, "p")(stock.fetch)
    monkeypatch.setitem(sys.modules, "plugin", stock)
    with pytest.raises(UsageError, match="give each a namespace"):
        cached(cache, "p")(stock.fetch)
    del price
    gc.collect()
    with pytest.raises(UsageError, match="give each a namespace"):
        cached(cache, "p")(stock.fetch)


def test_a_file_is_loaded_anew_when_what_it_made_before_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    cache, file = MemoryCache(), tmp_path / "a" / "plugin.py"
    first = load_plugin(file, "price")
    kept = cached(cache, "p")(first.fetch)
    second = load_plugin(file, "price", "!")
    with pytest.raises(UsageError, match="give each a namespace"):
        cached(cache, "p")(second.fetch)
    del kept, first
    gc.collect()
    assert cached(cache, "p")(second.fetch).key(1)


def execute(code: str | CodeType, names: dict[str, Any]) -> Any:
    exec(code, names)
    return names["rule"]


RULE = "async def rule(user: int) -> str:\n    return {!r} + TENANT\n"


@pytest.mark.parametrize(("one", "other"), [(("ten", "a"), ("free", "a")), (("ten", "a"), ("ten", "b"))])
def test_code_that_is_executed_again_is_another_function(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    """It is in no file, and nobody knows what it sees."""
    cache = MemoryCache()
    first = execute(RULE.format(one[0]), {"__name__": "rules", "TENANT": one[1]})
    cached(cache, "rules")(first)
    for _ in range(2):
        second = execute(RULE.format(other[0]), {"__name__": "rules", "TENANT": other[1]})
        with pytest.raises(UsageError, match="give each a namespace"):
            cached(cache, "rules")(second)
        first = None
        gc.collect()


def test_what_is_typed_again_into_an_interpreter_means_the_new_one() -> None:
    console: dict[str, Any] = {"__name__": "__console__", "TENANT": "a"}
    cache = MemoryCache()
    first = cached(cache, "rules")(execute(RULE.format("ten"), console))
    assert cached(cache, "rules")(execute(RULE.format("free"), console)).key(1) == first.key(1)


FACTORY = """
def make():
    async def rule(user: int) -> str:
        return {!r}

    return rule


rule = make()
"""


def test_what_a_typed_factory_makes_is_new_where_its_line_is_another() -> None:
    """Notebooks give each cell a file's name of its own."""
    console: dict[str, Any] = {"__name__": "__console__"}
    cache = MemoryCache()

    def typed(text: str, cell: str) -> Any:
        return execute(compile(FACTORY.format(text), cell, "exec"), console)

    first = cached(cache, "rules")(typed("ten", "<cell 1>"))
    with pytest.raises(UsageError, match="give each a namespace"):
        cached(cache, "rules")(typed("free", "<cell 1>"))
    assert cached(cache, "rules")(typed("free", "<cell 2>")).key(1) == first.key(1)
