"""Objects that differ in what their fields don't tell of are refused as arguments, or told apart."""

from __future__ import annotations

import dataclasses
import enum
import functools
from datetime import datetime
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Generic, NamedTuple, Self, TypeVar

import msgspec
import pytest
from pydantic import BaseModel, PrivateAttr

from stoker.core import MemoryCache, UsageError, cached
from stoker.core.decorators.encoding import encode_argument

T = TypeVar("T")


@dataclasses.dataclass
class Query:
    table: str


class Filtered(Query):
    def __init__(self, table: str, where: str) -> None:
        super().__init__(table)
        self.where = where


@dataclasses.dataclass(slots=True)
class Slotted:
    table: str


class FilteredSlots(Slotted):
    __slots__ = ("where",)

    def __init__(self, table: str, where: str) -> None:
        super().__init__(table)
        self.where = where


class OneSlot(Slotted):
    __slots__ = "where"  # noqa: PLC0205

    def __init__(self, table: str, where: str) -> None:
        super().__init__(table)
        self.where = where


class Money(Decimal):
    currency: str

    def __new__(cls, amount: str, currency: str) -> Self:
        self = Decimal.__new__(cls, amount)
        self.currency = currency
        return self


class Zoned(datetime):
    place: str


class Named(PurePosixPath):
    owner: str


class Pair(NamedTuple):
    left: int
    right: int


class Third(Pair):
    third: int


class Loose(msgspec.Struct, dict=True):
    table: str


@dataclasses.dataclass
class Row(dict[str, int]):
    table: str = ""


@dataclasses.dataclass
class ProblemError(Exception):
    code: int = 0


def with_attribute(value: Any, name: str) -> Any:
    setattr(value, name, 1)
    return value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Filtered("t", "a=1"), r"a Filtered holds what its fields don't tell of \(where\)"),
        (FilteredSlots("t", "a=1"), r"\(where\)"),
        (OneSlot("t", "a=1"), r"\(where\)"),
        (Money("5", "EUR"), r"\(currency\)"),
        (with_attribute(Zoned(2026, 1, 1), "place"), r"\(place\)"),
        (with_attribute(Named("/a"), "owner"), r"\(owner\)"),
        (with_attribute(Third(1, 2), "third"), r"\(third\)"),
        (with_attribute(Loose("t"), "where"), r"\(where\)"),
        (with_attribute(Query("t"), "where"), r"\(where\)"),
        (Row("t"), "a Row is a dict, too"),
        (ProblemError(1), "a ProblemError is a Exception, too"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_state_beside_the_fields_is_refused(value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        encode_argument([value])
    assert "give its class a method __cache_key__" in str(caught.value)


class Tenanted(BaseModel):
    number: int
    _tenant: str = PrivateAttr("")

    def __init__(self, number: int, tenant: str) -> None:
        super().__init__(number=number)
        self._tenant = tenant

    @functools.cached_property
    def double(self) -> int:
        return self.number * 2


def test_private_attributes_of_models_tell_them_apart() -> None:
    assert encode_argument(Tenanted(1, "a")) == encode_argument(Tenanted(1, "a"))
    assert encode_argument(Tenanted(1, "a")) != encode_argument(Tenanted(1, "b"))


@dataclasses.dataclass
class Generalized(Generic[T]):
    number: T
    extra: int = dataclasses.field(default=0, compare=False)

    @functools.cached_property
    def double(self) -> int:
        return 2


def test_what_is_computed_of_the_fields_is_no_state() -> None:
    for fresh, used in ((Tenanted(1, "a"), Tenanted(1, "a")), (Generalized(1), Generalized[int](1))):
        assert used.double == 2
        assert encode_argument(fresh) == encode_argument(used)
    assert encode_argument(Generalized(1, 2)) == encode_argument(Generalized(1, 3))  # not compared, not told


class Priced(Money):
    def __cache_key__(self) -> list[str]:
        return [str(self), self.currency]


def test_a_cache_key_tells_apart_what_would_be_refused() -> None:
    keys = {encode_argument(Priced(amount, name)) for amount in ("5", "6") for name in ("EUR", "USD")}
    assert len(keys) == 4
    assert encode_argument(Priced("5", "EUR")) in keys


def local_dataclass(default: int) -> Any:
    @dataclasses.dataclass(frozen=True)
    class Local:
        number: int = default

    return Local(1)


def local_enum(value: Any) -> Any:
    class Local(enum.Enum):
        A = value

    return Local.A


def local_with_a_key(key: str) -> Any:
    class Local:
        def __cache_key__(self) -> str:
            return key

    return Local()


def test_instances_of_classes_that_functions_make_are_refused() -> None:
    for value in (local_dataclass(1), local_enum(1)):
        with pytest.raises(UsageError, match=r"the class .*Local was made by a function, and others"):
            encode_argument(value)
    assert encode_argument(local_with_a_key("a")) == encode_argument(local_with_a_key("a"))
    assert encode_argument(local_with_a_key("a")) != encode_argument(local_with_a_key("b"))


async def test_a_call_with_such_an_argument_is_refused_by_name() -> None:
    @cached(MemoryCache(), "queries")
    async def run(query: Query) -> str:
        return str(vars(query))

    with pytest.raises(UsageError, match=r"argument 'query' of .*run: a Filtered holds"):
        await run(Filtered("t", "a=1"))
    assert await run(Query("t")) == "{'table': 't'}"
