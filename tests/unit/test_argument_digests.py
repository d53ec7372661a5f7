"""Digests of arguments, for any values at all; and their format, which is frozen."""

from __future__ import annotations

import dataclasses
import enum
import io
import json
import math
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.requests import Request

from stoker.core import UsageError, generate_cache_key
from stoker.core.decorators.arguments import ArgumentDigest
from stoker.core.decorators.encoding import encode_argument

SNAPSHOT = Path(__file__).parent.parent / "snapshots" / "digests-v1.json"

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.decimals(allow_nan=False),
    st.uuids(),
)
HASHABLE = LEAVES | st.tuples(LEAVES, LEAVES) | st.frozensets(LEAVES, max_size=3)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HASHABLE, inner, max_size=3),
    max_leaves=6,
)


def shape(value: Any) -> Any:
    """What tells a value apart, said in another way than the code under test says it."""
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else repr(value + 0.0))
    if isinstance(value, list | tuple):
        return (type(value).__name__, tuple(shape(item) for item in value))
    if isinstance(value, set | frozenset):
        return (type(value).__name__, frozenset(shape(item) for item in value))
    if isinstance(value, dict):
        return ("dict", frozenset((shape(key), shape(item)) for key, item in value.items()))
    return (type(value).__name__, repr(value))


@given(VALUES, VALUES)
def test_two_values_share_bytes_only_if_they_are_the_same(one: Any, other: Any) -> None:
    assert (encode_argument(one) == encode_argument(other)) == (shape(one) == shape(other))


@given(st.lists(VALUES, max_size=3), st.lists(VALUES, max_size=3))
def test_no_value_runs_into_the_next(one: list[Any], other: list[Any]) -> None:
    def takes(*values: Any) -> None: ...

    digest = ArgumentDigest(takes)
    assert (digest(tuple(one), {}) == digest(tuple(other), {})) == (shape(one) == shape(other))


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.randoms())
def test_the_order_of_a_dict_and_of_a_set_makes_no_difference(values: dict[str, Any], chance: Any) -> None:
    names = list(values)
    chance.shuffle(names)
    assert encode_argument({name: values[name] for name in names}) == encode_argument(values)
    assert encode_argument(set(names)) == encode_argument(set(values))


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=5), st.randoms())
def test_a_generated_key_depends_on_no_order_and_on_all_values(values: dict[str, Any], chance: Any) -> None:
    names = list(values)
    chance.shuffle(names)
    key = generate_cache_key("p", **values)
    assert generate_cache_key("p", **{name: values[name] for name in names}) == key
    assert generate_cache_key("q", **values) != key
    assert generate_cache_key("p", **values, **{"".join(names) + "x": None}) != key


@given(
    a=st.integers(),
    b=st.integers(),
    c=st.integers() | st.text(),
    d=st.none() | st.integers(),
    by_name=st.booleans(),
)
def test_a_call_has_one_digest_however_it_is_written(
    a: int, b: int, c: Any, d: Any, *, by_name: bool
) -> None:
    def function(a: int, b: int = 2, *, c: Any = "x", d: Any = None) -> None: ...

    digest = ArgumentDigest(function)
    spelled = digest((), {"d": d, "c": c, "b": b, "a": a})
    kwargs = {**({} if c == "x" else {"c": c}), **({} if d is None else {"d": d})}
    if by_name:
        assert digest((a,), {**kwargs, **({} if b == 2 else {"b": b})}) == spelled
    else:
        assert digest((a,) if b == 2 else (a, b), kwargs) == spelled
    assert ArgumentDigest(function)((a, b), {"c": c, "d": d}) == spelled


def test_nan_next_to_a_text_is_no_other_number() -> None:
    (lookalike,) = struct.unpack(">d", b"nans3:??")
    assert encode_argument([math.nan, "??n"]) != encode_argument([lookalike, None])
    assert len(encode_argument(math.nan)) == len(encode_argument(lookalike)) == 9


def test_remembered_calls_of_keywords_are_told_apart_by_type_and_by_name() -> None:
    def function(a: Any = 0, b: Any = 0, **more: Any) -> None: ...

    digest = ArgumentDigest(function)
    calls: list[dict[str, Any]] = [
        {}, {"a": 1}, {"a": True}, {"a": 1.0}, {"a": "1"}, {"b": 1}, {"c": 1},
        {"a": "b", "b": "a"}, {"a": "a", "b": "b"},
    ]  # fmt: skip
    for _ in range(2):  # remembered or not
        assert len({digest((), call) for call in calls}) == len(calls)
    assert len(digest._remembered) == len(calls)
    assert digest((), {"a": 1, "b": 2}) == digest((), {"b": 2, "a": 1}) == digest((1,), {"b": 2})


class Coordinates(NamedTuple):
    x: int
    y: int


class Places(NamedTuple):
    x: int
    y: int


class Level(enum.StrEnum):
    LOW = "low"


class Account:
    def __init__(self, number: int, session: object) -> None:
        self.number, self.session = number, session

    def __cache_key__(self) -> int:
        return self.number


class Keyless:
    def __cache_key__(self) -> object:
        return object()


@dataclasses.dataclass
class Half:
    whole: int = dataclasses.field(init=False)


def takes(value: Any) -> None: ...


OTHERS: list[Any] = [
    Coordinates(1, 2),
    Places(1, 2),
    (1, 2),
    Level.LOW,
    "low",
    Account(1, None),
    Account(2, None),
    int,
    str,
    Account,
    "builtins.int",
    datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Europe/Paris")),
    datetime(2026, 1, 1, 12, tzinfo=ZoneInfo("Europe/Berlin")),
    datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=1))),
    time(12, tzinfo=ZoneInfo("Europe/Paris")),
    time(12, tzinfo=ZoneInfo("Europe/Berlin")),
    time(12),
    PurePosixPath("1"),
    10**5000,
]


def test_other_kinds_are_told_apart_too() -> None:
    digest = ArgumentDigest(takes)
    assert len({digest((value,), {}) for value in OTHERS}) == len(OTHERS)
    assert digest((Account(1, object()),), {}) == digest((Account(1, None),), {})


def test_how_a_decimal_is_printed_makes_no_difference() -> None:
    value = Decimal("1e+9")
    before = encode_argument(value)
    with localcontext() as context:
        context.capitals = 0
        assert encode_argument(value) == before


REFUSED: dict[str, Callable[[], Any]] = {
    "file": lambda: io.StringIO("x"),
    "generator": lambda: (number for number in [1]),
    "lambda": lambda: lambda: None,
    "lock": threading.Lock,
    "request": lambda: Request({"type": "http"}),
    "object": object,
    "inside": lambda: {"a": [threading.Lock()]},
    "no such field": Half,
    "identified by what can't be keyed": Keyless,
    "a class made by a function": lambda: type("Local", (), {"__qualname__": "f.<locals>.Local"}),
    "a lazy map": lambda: map(str, [1]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_tells_nothing_is_refused_naming_function_and_argument(kind: str) -> None:
    with pytest.raises(UsageError, match=r"argument 'value' of takes: "):
        ArgumentDigest(takes)((REFUSED[kind](),), {})
    with pytest.raises(UsageError, match=r"argument 'it' of a key of 'p': "):
        generate_cache_key("p", it=REFUSED[kind]())


def test_an_ignored_argument_may_be_anything() -> None:
    def function(number: int, session: object) -> None: ...

    digest = ArgumentDigest(function, ignored=["session"])
    assert digest((1, object()), {}) == digest((1,), {"session": threading.Lock()})
    assert digest.params == ("number",)
    for wrong, message in (
        (["sessions"], "ignore: .* has no parameter 'sessions'"),
        ("session", "several texts"),
    ):
        with pytest.raises(UsageError, match=message):
            ArgumentDigest(function, ignored=wrong)


def test_each_parameter_has_a_digest_of_its_own() -> None:
    def reads(user_id: int, page: int = 1) -> None: ...

    def writes(data: str, user_id: int) -> None: ...

    read, written = ArgumentDigest(reads), ArgumentDigest(writes, ["user_id"])
    assert read.each((5,), {})["user_id"] == written.each(("x", 5), {})["user_id"]
    assert read.each((5,), {})["user_id"] != written.each(("x", 6), {})["user_id"]
    assert list(written.each(("x", 5), {})) == ["user_id"]


# -- the format is frozen -------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: int
    label: str = "p"


class Struct(msgspec.Struct):
    x: int


class Model(BaseModel):
    x: int
    tags: list[str] = []


GOLDEN: dict[str, Any] = {
    "none": None,
    "true": True,
    "one": 1,
    "minus one": -1,
    "large": 2**100,
    "float": 1.5,
    "nan": math.nan,
    "text": "a:b",
    "unicode": "ä\U0001f600\ud800",
    "bytes": b"\x00\xff",
    "list": [1, "1", [None]],
    "tuple": (1, "1"),
    "set": {1, 2, 3},
    "frozenset": frozenset({"a"}),
    "dict": {"b": 1, "a": {"c": 2.0}, 3: "x"},
    "date": date(2026, 1, 2),
    "datetime": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
    "zone": datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
    "time": time(1, 2),
    "timedelta": timedelta(days=1, seconds=2),
    "decimal": Decimal("1.50"),
    "uuid": UUID(int=7),
    "path": PurePosixPath("/a/b"),
    "enum": Colour.RED,
    "flags": Rights.READ | Rights.WRITE,
    "named tuple": Coordinates(1, 2),
    "dataclass": Point(1),
    "struct": Struct(1),
    "model": Model(x=1, tags=["a"]),
    "class": Point,
    "own key": Account(1, None),
}


def test_the_format_is_the_one_that_was_frozen() -> None:
    """Changed digests are cold caches: who changes them writes the file anew, and a line in the changelog."""
    found = {name: ArgumentDigest(takes)((value,), {}) for name, value in GOLDEN.items()}
    assert found == json.loads(SNAPSHOT.read_text())


def test_other_hash_seeds_and_processes_find_the_same_digests() -> None:
    program = (
        "import json, sys\n"
        "from tests.unit.test_argument_digests import GOLDEN, ArgumentDigest, takes\n"
        "print(json.dumps({name: ArgumentDigest(takes)((value,), {}) for name, value in GOLDEN.items()}))\n"
    )
    for seed in ("0", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parent.parent.parent,
            check=True,
            capture_output=True,
            text=True,
        )
        assert json.loads(done.stdout) == json.loads(SNAPSHOT.read_text())


class OwnPath(PurePosixPath):
    __slots__ = ()


def test_a_class_that_moved_within_python_is_the_same_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pathlib.PurePosixPath` is `pathlib._local.PurePosixPath` on Python 3.13."""
    moved = type("PurePosixPath", (PurePosixPath,), {"__module__": "pathlib._local", "__slots__": ()})
    moved.__qualname__ = "PurePosixPath"
    monkeypatch.setitem(sys.modules, "pathlib._local", SimpleNamespace(PurePosixPath=moved))
    assert encode_argument(moved("/a")) == encode_argument(PurePosixPath("/a"))
    assert encode_argument(OwnPath("/a")) != encode_argument(PurePosixPath("/a"))
