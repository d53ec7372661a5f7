"""Digests of arguments: different ones never share one, equal ones always do."""

from __future__ import annotations

import enum
import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

from stoker.core.decorators.arguments import ArgumentDigest
from stoker.core.errors import UsageError


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Number(enum.IntEnum):
    ONE = 1


@dataclass
class Point:
    x: int


@dataclass
class Other:
    x: int


class Struct(msgspec.Struct):
    x: int


class Model(BaseModel):
    x: int


class Open(BaseModel, extra="allow"):
    x: int


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Text(str):
    __slots__ = ()


def takes(value: Any) -> None: ...


DIFFERENT: list[Any] = [
    1,
    "1",
    1.0,
    True,
    -1,
    -2,
    0,
    0.5,
    False,
    None,
    "",
    "None",
    b"1",
    b"",
    [],
    (),
    {},
    set(),
    frozenset(),
    [1],
    (1,),
    {1},
    [[1], 2],
    [1, [2]],
    [1, 2],
    [2, 1],
    ["1,2"],
    ["1", "2"],
    {"a": 1},
    {"a": "1"},
    {"b": 1},
    {"a": {"b": 1}},
    {"a": 1, "b": 2},
    "a:b",
    "a",
    "ä",
    "a\u0308",
    "\ud800",
    "x" * 1000,
    2**70,
    -(2**70),
    float("nan"),
    float("inf"),
    Colour.RED,
    Colour.BLUE,
    Number.ONE,
    Point(1),
    Point(2),
    Other(1),
    Struct(1),
    Model(x=1),
    date(2026, 1, 1),
    datetime(2026, 1, 1, tzinfo=UTC),
    Decimal(1),
    Decimal("1.0"),
    UUID(int=1),
    Path("1"),
    {1: 2},
    {"1": 2},
    frozenset({1}),
    (None,),
    [None],
    [[]],
    [()],
]

EQUAL: list[tuple[Any, Any]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({3, 1, 2}, {2, 3, 1}),
    ({"x", "y", "z"}, {"z", "x", "y"}),
    (float("nan"), float("nan")),
    (0.0, -0.0),
    (Point(1), Point(1)),
    (Model(x=1), Model(x=1)),
    ({"a": [{"b": {1, 2}}]}, {"a": [{"b": {2, 1}}]}),
]


def test_different_values_never_share_a_digest() -> None:
    digest = ArgumentDigest(takes)
    for _ in range(2):  # remembered or not
        found = {digest((value,), {}): value for value in DIFFERENT}
        assert len(found) == len(DIFFERENT)


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=repr)
def test_equal_values_always_do(one: Any, other: Any) -> None:
    digest = ArgumentDigest(takes)
    assert digest((one,), {}) == digest((other,), {}) == ArgumentDigest(takes)((other,), {})


def test_ways_of_passing_an_argument_are_the_same_call() -> None:
    def function(a: int, b: int = 2, /, c: int = 3, *rest: int, d: int = 4, **more: int) -> None: ...

    digest = ArgumentDigest(function)
    assert digest((1,), {}) == digest((1, 2), {}) == digest((1, 2), {"c": 3, "d": 4}) == digest((1, 2, 3), {})
    calls: list[tuple[tuple[int, ...], dict[str, int]]] = [
        ((1,), {}),
        ((1, 3), {}),
        ((1, 2, 4), {}),
        ((1, 2, 3, 4), {}),
        ((1,), {"d": 5}),
        ((1,), {"e": 4}),
        ((1,), {"e": 5}),
        ((1,), {"e": 4, "f": 5}),
        ((1,), {"e": 5, "f": 4}),
        ((1, 2, 3), {"f": 4}),
    ]
    assert len({digest(*call) for call in calls}) == len(calls)
    assert digest((1,), {"e": 4, "f": 5}) == digest((1,), {"f": 5, "e": 4})
    with pytest.raises(TypeError, match="missing"):
        digest((), {})


def test_what_tells_nothing_is_refused() -> None:
    digest = ArgumentDigest(takes)
    nested: list[Any] = []
    for _ in range(100):
        nested = [nested]
    for value in (object(), takes, Text("x"), [object()], {"a": object()}, iter([1]), nested):
        with pytest.raises(UsageError, match="argument 'value' of takes"):
            digest((value,), {})


def test_digests_are_the_same_in_every_process() -> None:
    program = (
        "from stoker.core.decorators.arguments import ArgumentDigest\n"
        "def takes(a, b): ...\n"
        "print(ArgumentDigest(takes)(({'x', 'y', 'z', 'w'}, {'k': ('v', 1.5, None)}), {}))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 32


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.core.decorators.arguments.MAX_REMEMBERED", 10)
    digest = ArgumentDigest(takes)
    assert len({digest((n,), {}) for n in itertools.chain(range(50), range(50))}) == 50
    assert len(digest._remembered) <= 10


def test_fields_that_a_model_did_not_declare_count() -> None:
    digest = ArgumentDigest(takes)
    others: list[dict[str, int]] = [{}, {"y": 1}, {"y": 2}, {"z": 1}]
    values = [Open.model_validate({"x": 1, **extra}) for extra in others]
    assert len({digest((value,), {}) for value in values}) == len(values)


def test_flags_without_a_name_are_told_apart() -> None:
    digest = ArgumentDigest(takes)
    values = [Rights(0), Rights.READ, Rights.WRITE, Rights.READ | Rights.WRITE, 0, 1, 2, 3]
    assert len({digest((value,), {}) for value in values}) == len(values)


@pytest.mark.parametrize("value", ["x" * 256, b"x" * 256, 1 << 4096])
def test_long_arguments_are_not_held(value: Any) -> None:
    digest = ArgumentDigest(takes)
    assert digest((value,), {}) == digest((value,), {})
    assert not digest._remembered
    assert digest(("short",), {})
    assert len(digest._remembered) == 1
