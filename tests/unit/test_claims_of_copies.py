"""One definition that makes several functions, in a loop, a factory or threads: none shares entries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stoker.core import MemoryCache, UsageError, cached


async def test_a_loop_makes_functions_that_see_its_variable_as_it_was() -> None:
    cache = MemoryCache()
    made: list[Any] = []

    def make_all() -> None:
        for tenant in ("acme", "globex"):

            @cached(cache, "rows")
            async def get(number: int) -> str:
                return tenant  # noqa: B023  that is the point

            made.append(get)

    with pytest.raises(UsageError, match="namespace"):
        make_all()
    assert len(made) == 1


def test_a_loop_of_a_module_makes_functions_that_nobody_can_tell_apart(tmp_path: Path) -> None:
    module = ModuleType("looping")
    module.__file__ = str(tmp_path / "looping.py")
    code = """
for tenant in ("acme", "globex"):
    @cached(cache, "rows")
    async def get(number):
        return tenant
"""
    module.__dict__.update(cache=MemoryCache(), cached=cached)
    with pytest.raises(UsageError, match="namespace"):
        exec(compile(code, module.__file__, "exec"), module.__dict__)


def with_attribute(cache: MemoryCache, tenant: str) -> Any:
    async def get(number: int) -> str:
        return str(vars(get)["tenant"])

    vars(get)["tenant"] = tenant
    return cached(cache, "rows")(get)


def with_hidden_default(cache: MemoryCache, tenant: str) -> Any:
    async def get(number: int, _tenant: str = tenant) -> str:
        return _tenant

    shown = signature(get)
    vars(get)["__signature__"] = shown.replace(parameters=list(shown.parameters.values())[:1])
    return cached(cache, "rows")(get)


@pytest.mark.parametrize("make", [with_attribute, with_hidden_default])
async def test_what_a_function_sees_by_its_attributes_and_hidden_defaults_counts(
    make: Callable[[MemoryCache, str], Any],
) -> None:
    cache = MemoryCache()
    first = make(cache, "acme")
    assert await first(1) == "acme"
    with pytest.raises(UsageError, match="namespace"):
        make(cache, "globex")


def test_of_functions_that_threads_make_at_once_one_gets_the_name() -> None:
    def make(cache: MemoryCache, tenant: int, start: threading.Barrier) -> Any:
        async def get(number: int) -> int:
            return tenant + number

        start.wait(timeout=10)
        try:
            return cached(cache, "rows")(get)
        except UsageError:
            return None

    with ThreadPoolExecutor(4) as threads:
        for _ in range(6):
            cache, start = MemoryCache(), threading.Barrier(4)
            made = list(threads.map(lambda tenant: make(cache, tenant, start), range(4)))  # noqa: B023
            assert sum(one is not None for one in made) == 1
