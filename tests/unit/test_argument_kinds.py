"""Arguments that look alike and are not: of classes of one name, in time zones, with more than fields."""

from __future__ import annotations

import dataclasses
import enum
import functools
import io
import struct
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import BaseModel, PrivateAttr, TypeAdapter, computed_field, create_model

from stoker.core import MemoryCache, UsageError, cached, generate_cache_key
from stoker.core.decorators import encoding
from stoker.core.decorators.arguments import ArgumentDigest
from stoker.core.decorators.encoding import encode_argument

T = TypeVar("T")


# -- classes that functions make ------------------------------------------------------------------

#: As functions that type checkers can't look into.
make_enum: Any = enum.Enum
namedtuple: Any = NamedTuple

MADE: dict[str, Callable[[], Any]] = {
    "enum": lambda: make_enum("Choice", {"X": 1}).X,
    "dataclass": lambda: dataclasses.make_dataclass("Row", ["id"])(1),
    "named tuple": lambda: namedtuple("P", [("lat", int), ("lon", int)])(1, 2),
    "struct": lambda: msgspec.defstruct("S", [("x", int)])(1),
    "model": lambda: create_model("M", x=(int, ...))(x=1),
    "a class": lambda: type("Anything", (), {}),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_class_that_is_not_found_under_its_name_is_refused(kind: str) -> None:
    """Its namesake may hold something else under the same names."""
    with pytest.raises(UsageError, match=r"argument 'it' of .*: there is no class .* that is this one"):
        generate_cache_key("p", it=MADE[kind]())


Choice = make_enum("Choice", {"X": 1})
Pair = namedtuple("Pair", [("left", int), ("right", int)])


def test_one_that_stands_in_its_module_is_known_by_its_name() -> None:
    values = [Choice.X, Pair(1, 2), Choice, Pair, int, type(None), datetime]
    assert len({encode_argument(value) for value in values}) == len(values)


class Row(BaseModel):
    id: int = 1


class Box(BaseModel, Generic[T]):
    items: list[T] = []


box: Any = Box


def local() -> type[BaseModel]:
    class Row(BaseModel): ...

    return Row


def test_generic_models_are_told_apart_by_their_arguments() -> None:
    values = [Box[int](), Box[str](), Box[Row](), Box[list[int]](), Box[int | None](), Box[dict[str, Row]]()]
    assert len({encode_argument(value) for value in values}) == len(values)
    assert encode_argument(Box[Row](items=[Row()])) == encode_argument(Box[Row](items=[Row()]))
    assert encode_argument(box[None]()) == encode_argument(box[type(None)]())
    assert encode_argument(box[dict[str, None]]()) != encode_argument(Box[dict[str, Row]]())
    with pytest.raises(UsageError, match="was made by a function"):
        encode_argument(box[local()]())
    with pytest.raises(UsageError, match="told apart by classes alone"):
        encode_argument(box[Literal["a"]]())


# -- models with more than their fields -----------------------------------------------------------


class Loose(BaseModel, extra="allow"):
    kind: ClassVar[str] = "x"
    a: int = 1
    _note: str = PrivateAttr("")

    @property
    def total(self) -> int:
        return self.a

    @computed_field
    def twice(self) -> int:
        return 2 * self.a


@pytest.mark.parametrize("name", ["kind", "total", "twice", "copy", "model_dump", "_Loose__x"])
def test_further_fields_count_whatever_the_class_calls_so(name: str) -> None:
    values = [Loose(), *(Loose.model_validate({name: value}) for value in (1, 2, "1", None))]
    assert len({encode_argument(value) for value in values}) == len(values)
    assert encode_argument(Loose.model_validate({name: 1})) == encode_argument(values[1])


def test_private_attributes_are_no_further_fields() -> None:
    further, private = Loose.model_validate({"note": "x"}), Loose()
    private._note = "x"
    assert len({encode_argument(value) for value in (Loose(), further, private)}) == 3


def test_a_model_that_lacks_a_field_is_refused() -> None:
    lacking = Row.model_construct()
    vars(lacking).clear()
    with pytest.raises(UsageError, match="a Row has no value for its field 'id'"):
        encode_argument(lacking)


# -- time zones -----------------------------------------------------------------------------------

BERLIN, LAGOS = "Europe/Berlin", "Africa/Lagos"


class OwnZone(ZoneInfo):
    pass


def test_times_in_zones_of_one_offset_are_told_apart() -> None:
    zones: list[tzinfo | None] = [
        None,
        UTC,
        ZoneInfo("UTC"),
        ZoneInfo(BERLIN),
        ZoneInfo(LAGOS),
        OwnZone(BERLIN),
    ]
    for noon in (time(12), datetime(2025, 1, 1, 12)):  # noqa: DTZ001
        assert len({encode_argument(noon.replace(tzinfo=zone)) for zone in zones}) == len(zones)
    hour = timezone(timedelta(hours=1))
    assert len({encode_argument(time(12, tzinfo=zone)) for zone in (UTC, hour, None)}) == 3


def test_an_offset_is_the_same_whoever_read_it() -> None:
    read = TypeAdapter(datetime).validate_python("2025-01-01T12:00:00+01:00")
    assert encode_argument(read) == encode_argument(
        datetime(2025, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    )


class Rules(tzinfo):
    """Winter and summer, as the zones of other libraries have them: a time of day alone has no offset."""

    def __init__(self, hours: int) -> None:
        self.hours = hours

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None if when is None else timedelta(hours=self.hours)

    def dst(self, when: datetime | None) -> timedelta | None:
        return None if when is None else timedelta(0)

    def tzname(self, when: datetime | None) -> str:
        return "somewhere"


def test_a_zone_that_does_not_say_which_it_is_is_refused() -> None:
    one_offset = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 3600, 0, 0)
    nameless = ZoneInfo.from_file(io.BytesIO(one_offset + b"LMT\0"))
    for value in (time(9, tzinfo=Rules(1)), datetime(2025, 1, 1, tzinfo=Rules(2)), time(9, tzinfo=nameless)):
        with pytest.raises(UsageError, match=r"argument 'at' of .*: the time zone .* pass a time in UTC"):
            generate_cache_key("p", at=value)


# -- large ones -----------------------------------------------------------------------------------


def test_what_holds_itself_many_times_over_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shared: list[Any] = [1]
    for _ in range(60):
        shared = [shared, shared]
    for value in (shared, {"a": shared}, [Row.model_construct(id=shared)]):  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"holds more than \d+ values"):
            encode_argument(value)
    monkeypatch.setattr(encoding, "MAX_VALUES", 10)
    assert encode_argument(list(range(9)))
    for large in (list(range(10)), dict.fromkeys(range(5)), [[1, 2], [3, 4], [5, 6]]):
        with pytest.raises(UsageError, match="holds more than 10 values"):
            encode_argument(large)


def test_a_number_of_more_digits_than_python_writes_is_told_apart_from_others() -> None:
    def writes(number: int) -> None: ...

    digest, huge = ArgumentDigest(writes), 10**5000
    assert digest.each_alike((huge,), {}) == list(digest.each((huge,), {}).items())
    assert digest.each_alike((huge,), {}) != digest.each_alike((huge + 1,), {})


# -- functions that are wrapped -------------------------------------------------------------------


def with_source(load: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load)
    async def hand_in(*args: Any, **kwargs: Any) -> Any:
        return await load("source", *args, **kwargs)

    return hand_in


def with_request(load: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load)
    async def take_first(request: str, *args: Any, **kwargs: Any) -> Any:
        return await load(*args, **kwargs)

    return take_first


async def test_what_a_wrapper_hands_in_tells_nothing_of_the_call() -> None:
    cache = MemoryCache()

    @cached(cache, "a")
    @with_source
    async def find(source: str, user: int, lang: str = "en", mode: str = "x") -> list[Any]:
        return [user, lang, mode]

    calls = [(1,), (2,), (1, "de"), (1, "de", "en"), (1, "de", "x")]
    assert [await find(*call) for call in calls] == [
        [1, "en", "x"],
        [2, "en", "x"],
        [1, "de", "x"],
        [1, "de", "en"],
        [1, "de", "x"],
    ]
    assert await find(user=3) == [3, "en", "x"]
    decorate: Any = cached
    for given in ({"key_params": ["user"]}, {"ignore": ["source"]}):
        with pytest.raises(UsageError, match="write the cache's decorator below that one"):
            decorate(cache, "b", **given)(find.__wrapped__)


async def test_a_wrapper_with_parameters_of_its_own_is_called_by_these() -> None:
    @cached(MemoryCache(), "a", ignore=["request"])
    @with_request
    async def find(user: int) -> int:
        return user

    assert [await find("first", 1), await find("second", 1), await find("first", 2)] == [1, 1, 2]


async def test_a_wrapper_may_say_what_it_takes() -> None:
    async def find(source: str, user: int, trace: str = "") -> list[Any]:
        return [source, user]

    def taken(user: int, trace: str = "") -> None: ...

    wrapped: Any = with_source(find)
    wrapped.__signature__ = ArgumentDigest(taken)._signature
    told = cached(MemoryCache(), "a", key_params=["user"])(wrapped)
    assert [await told(1), await told(user=2), await told(1, "t")] == [["source", n] for n in (1, 2, 1)]
