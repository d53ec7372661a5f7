"""Results come back as what they were, by the function's annotation; from Redis as from memory."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, SecretStr, field_serializer

from stoker.core import CacheManager, UsageError, cached
from tests.managers import make_manager
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections import OrderedDict as ForCheckersOnly

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Place(NamedTuple):
    x: int
    when: datetime


class Row(TypedDict):
    price: Decimal
    bought: date


@dataclass
class Item:
    price: Decimal
    bought: datetime
    id: UUID
    colour: Colour = Colour.RED
    tags: set[str] = field(default_factory=set)


@dataclass
class Basket:
    items: list[Item]
    by_name: dict[str, Item]
    note: str | None = None


class Struct(msgspec.Struct):
    price: Decimal
    parts: tuple[int, ...] = ()


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    total: int


class Model(BaseModel):
    price: Decimal
    bought: datetime
    nested: dict[str, list[UUID]] = {}


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    bark: int


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    purr: int


NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ITEM = Item(Decimal("1.50"), NOW, UUID(int=5), tags={"a", "b"})

CASES: dict[str, tuple[Any, Any]] = {
    "datetime": (datetime, NOW),
    "naive datetime": (datetime, datetime(2026, 1, 2)),  # noqa: DTZ001
    "date": (date, date(2026, 1, 2)),
    "time": (time, time(1, 2, 3)),
    "timedelta": (timedelta, timedelta(days=1, microseconds=5)),
    "decimal": (Decimal, Decimal("1.50")),
    "uuid": (UUID, UUID(int=5)),
    "enum": (Colour, Colour.RED),
    "int enum": (Level, Level.LOW),
    "bytes": (bytes, b"\x00\xff"),
    "text": (str, "ä\U0001f600"),
    "large int": (int, 2**63),
    "float": (float, 1.5),
    "tuple": (tuple[int, str, Decimal], (1, "1", Decimal(1))),
    "long tuple": (tuple[UUID, ...], (UUID(int=1), UUID(int=2))),
    "set": (set[int], {1, 2}),
    "frozenset": (frozenset[UUID], frozenset({UUID(int=1)})),
    "list": (list[date], [date(2026, 1, 2)]),
    "dict": (dict[str, Decimal], {"a": Decimal("1.0")}),
    "dict by number": (dict[int, bytes], {1: b"x"}),
    "named tuple": (Place, Place(1, NOW)),
    "typed dict": (Row, {"price": Decimal("1.0"), "bought": date(2026, 1, 2)}),
    "dataclass": (Item, ITEM),
    "nested dataclass": (Basket, Basket([ITEM], {"one": ITEM})),
    "list of dataclasses": (list[Item], [ITEM, ITEM]),
    "struct": (Struct, Struct(Decimal("2.5"), (1, 2))),
    "generic struct": (Page[Item], Page([ITEM], 1)),
    "model": (Model, Model(price=Decimal("1.0"), bought=NOW, nested={"a": [UUID(int=1)]})),
    "list of models": (list[Model], [Model(price=Decimal("1.0"), bought=NOW)]),
    "dict of models": (dict[str, Model], {"a": Model(price=Decimal("1.0"), bought=NOW)}),
    "optional": (Optional[datetime], NOW),  # noqa: UP045
    "optional, none": (Item | None, None),
    "union with none of models": (Model | None, Model(price=Decimal("1.0"), bought=NOW)),
    "union of plain kinds": (int | str | list[str], "5"),
    "union told apart by a tag": (Dog | Cat, Cat(purr=3)),
    "list of a union": (list[Dog | Cat], [Cat(purr=3), Dog(bark=1)]),
    "list of optional": (list[Decimal | None], [Decimal(1), None]),
}  # fmt: skip


def annotated(value: Any, returns: Any) -> Callable[[str], Any]:
    async def load(case: str) -> Any:
        return value

    load.__annotations__["return"] = returns
    return load


@pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"], ["memory"]])
@pytest.mark.parametrize("serializer", ["msgpack", "json"])
async def test_values_come_back_as_what_they_were(
    redis_server: RedisServer, prefix: str, tiers: list[str], serializer: str
) -> None:
    policy = {"tiers": tiers, "serializer": serializer}
    one, other = (make_manager(redis_server, prefix, page=policy) for _ in range(2))
    async with one, other:
        for case, (returns, value) in CASES.items():
            for manager in (one, other) if "redis" in tiers else (one,):
                load = cached(manager, case, cache_type="page")(annotated(value, returns))
                found = [await load(case), await load(case)]
                assert found == [value, value], case
                assert [type(each) for each in found] == [type(value)] * 2, case
        counters = one.counters.of("page")
        assert (counters.unstorable, counters.undecodable) == (0, 0)
        assert other.counters.of("page").misses == 0


async def test_an_instant_comes_back_in_utc_unless_its_type_is_stored_as_json(
    redis_server: RedisServer, prefix: str
) -> None:
    there = NOW.astimezone(timezone(timedelta(hours=2)))
    async with make_manager(redis_server, prefix, page={}, text={"serializer": "json"}) as manager:
        for kind, zone in (("page", UTC), ("text", there.tzinfo)):
            load = cached(manager, kind, cache_type=kind)(annotated(there, datetime))
            assert await load("x") == await load("x") == there
            assert (await load("x")).tzinfo == zone


async def test_without_an_annotation_hits_are_plain_data(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as manager:

        @cached(manager, "plain", cache_type="page")
        async def load():  # type: ignore[no-untyped-def]
            return Item(Decimal("1.50"), NOW, UUID(int=5), tags={"a"})

        assert type(await load()) is Item
        assert await load() == {
            "price": "1.50",
            "bought": NOW,
            "id": str(UUID(int=5)),
            "colour": "red",
            "tags": ["a"],
        }


async def test_an_annotation_for_type_checkers_only_is_told_once(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_manager(redis_server, prefix, page={}) as manager:

        @cached(manager, "hidden", cache_type="page")
        async def load(n: int) -> ForCheckersOnly[str, int]:
            return {"n": n}  # type: ignore[return-value]  # pyright: ignore

        with caplog.at_level(logging.WARNING, "stoker.core.loading.loaders"):
            assert [await load(1), await load(1), await load(2)] == [{"n": 1}, {"n": 1}, {"n": 2}]
        [record] = [one for one in caplog.records if getattr(one, "action", "") == "unresolved_annotation"]
        assert "load reason=name 'ForCheckersOnly' is not defined" in record.getMessage()
        assert "at run time" in record.getMessage()


async def test_what_can_never_be_made_of_stored_bytes_is_refused_at_once(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, page={}) as manager:
        with pytest.raises(UsageError, match="return plain data, a dataclass, a Struct or a model"):

            @cached(manager, "locks", cache_type="page")
            async def load() -> threading.Event:
                return threading.Event()


async def test_a_result_that_cant_be_stored_is_handed_on_and_told_once(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_manager(redis_server, prefix, page={}) as manager:
        calls = 0

        @cached(manager, "odd", cache_type="page")
        async def load(n: int) -> Any:
            nonlocal calls
            calls += 1
            return {"n": n, "lock": threading.Lock()}

        with caplog.at_level(logging.WARNING, "stoker.core.entries.storage"):
            assert [(await load(n))["n"] for n in (1, 1, 2)] == [1, 1, 2]
        assert calls == 3
        assert manager.counters.of("page").unstorable == 3
        assert [one.message for one in caplog.records if "action=unstorable" in one.message] == [
            "action=unstorable cache_type=page reason=dict can't be stored: no serializer for lock"
        ]


class Login(BaseModel):
    user: str
    password: SecretStr


class Day(BaseModel):
    when: date

    @field_serializer("when")
    def _as_text(self, when: date) -> str:
        return when.strftime("%d %b %Y")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            Login(user="u", password=SecretStr("hunter2")),
            "Login.password is a secret, and stored as asterisks",
        ),
        (Day(when=date(2024, 1, 1)), "when can't be read back"),
    ],
)
async def test_a_model_that_would_come_back_as_another_is_handed_on_and_told_once(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture, value: BaseModel, said: str
) -> None:
    async with make_manager(redis_server, prefix, page={}) as manager:

        async def load(n: int) -> Any:
            return value

        load.__annotations__["return"] = type(value)
        cached_load = cached(manager, "lossy", cache_type="page")(load)
        with caplog.at_level(logging.WARNING, "stoker.core.entries.storage"):
            assert [await cached_load(1) for _ in range(3)] == [value] * 3
            assert not await manager.set("page", "k", value)
        assert manager.counters.of("page").unstorable == 4
        [told] = [one.message for one in caplog.records if "action=unstorable" in one.message]
        assert said in told
        assert "hunter2" not in caplog.text


async def test_memory_keeps_what_no_serializer_knows(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": ["memory"]}) as manager:
        calls = 0

        @cached(manager, "odd", cache_type="page")
        async def load() -> Any:
            nonlocal calls
            calls += 1
            return threading.Lock()

        assert await load() is await load()
        assert calls == 1


async def test_a_result_of_another_shape_than_today_is_loaded_again(
    redis_server: RedisServer, prefix: str
) -> None:
    """What an older version of the function stored, and its annotation no longer admits."""
    async with (
        make_manager(redis_server, prefix, page={}) as older,
        make_manager(redis_server, prefix, page={}) as manager,
    ):
        await check_changed_shape(older, manager)


async def check_changed_shape(older: CacheManager, manager: CacheManager) -> None:
    @cached(manager, "shape", cache_type="page")
    async def load(n: int) -> Struct:
        return Struct(Decimal(n))

    assert await older.set("page", load.key(1), {"price": "cheap"})
    assert [await load(1), await load(1)] == [Struct(Decimal(1))] * 2
    assert manager.counters.of("page").undecodable == 1
