"""Values that would come back as others are not stored, and say which field it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, NamedTuple

import msgspec
import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    Secret,
    SecretBytes,
    SecretStr,
    field_serializer,
    model_serializer,
)
from pydantic.dataclasses import dataclass as checked_dataclass

from stoker.core.entries.codec import UnstorableError, decode_value, encode_value
from stoker.core.entries.entry import Entry
from stoker.core.settings.policy import Policy

Revealed = Annotated[SecretStr, PlainSerializer(lambda secret: secret.get_secret_value())]


class Login(BaseModel):
    user: str
    password: SecretStr


class Keys(BaseModel):
    keys: list[Secret[int]] | None = None


class Raw(BaseModel):
    raw: dict[str, SecretBytes]


class Excluding(BaseModel):
    a: int
    b: int = Field(default=0, exclude=True)


class ExcludingAtTimes(BaseModel):
    b: int = Field(default=0, exclude_if=lambda value: value > 3)


class Private(BaseModel):
    a: int
    _b: int = PrivateAttr(default=0)


@dataclass
class Box:
    login: Login | None
    size: int = 1


class Outer(BaseModel):
    boxes: list[Box] = []


class Tree(BaseModel):
    leaf: Login | None = None
    trees: list[Tree] = []


class Pair(NamedTuple):
    login: Login
    size: int


class Named(BaseModel):
    pair: Pair | None = None


@checked_dataclass
class Checked:
    a: int
    b: int = Field(default=0, exclude=True)


class WithChecked(BaseModel):
    checked: Checked


class Base(BaseModel):
    a: int


class Derived(Base):
    b: int = 2


class Declares(BaseModel):
    item: Base


@dataclass
class Animal:
    name: str


@dataclass
class Dog(Animal):
    bark: int = 1


@dataclass
class Kennel:
    animals: list[Animal]


class Marked(Animal):
    """Not decorated: what it adds is no field."""


@dataclass
class Price:
    cents: int

    def __post_init__(self) -> None:
        self.cents = round(self.cents * 1.2)


class Post(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        self.x += 1


class Day(BaseModel):
    when: date

    @field_serializer("when")
    def _as_text(self, when: date) -> str:
        return when.strftime("%d %b %Y")


class Rounded(BaseModel):
    price: float

    @field_serializer("price")
    def _round(self, price: float) -> float:
        return round(price, 1)


class Renamed(BaseModel):
    a: int

    @model_serializer
    def _shape(self) -> dict[str, Any]:
        return {"other": self.a}


def marked() -> Marked:
    value = Marked("rex")
    value.mark = 5  # type: ignore[attr-defined]
    return value


BY_CLASS = [
    (Login(user="u", password=SecretStr("hunter2")), "Login.password is a secret"),
    (Keys(), "Keys.keys is a secret"),
    (Raw(raw={}), "Raw.raw is a secret"),
    (Excluding(a=1), "Excluding.b is excluded"),
    (ExcludingAtTimes(b=1), "ExcludingAtTimes.b is excluded"),
    (Private(a=1), "Private._b is private"),
    (Outer(), "Login.password is a secret"),
    (Tree(), "Login.password is a secret"),
    (Named(), "Login.password is a secret"),
    (WithChecked(checked=Checked(1)), "Checked.b is excluded"),
    (Box(Login(user="u", password=SecretStr(""))), "Login.password is a secret"),
]

BY_VALUE = [
    (Declares(item=Derived(a=1)), "Declares.item is a Derived and comes back as a Base"),
    (Kennel([Animal("tom"), Dog("rex")]), "Kennel.animals is a Dog and comes back as a Animal"),
    (Price(100), "Price.cents comes back as another value"),
    (Post(1), "Post.x comes back as another value"),
    (Day(when=date(2024, 1, 1)), "when can't be read back"),
    (Rounded(price=1.23), "Rounded.price comes back as another value"),
    (Renamed(a=1), "a, other can't be read back|a can't be read back"),
    (marked(), "Marked.mark is lost"),
]


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
@pytest.mark.parametrize(("value", "said"), BY_CLASS + BY_VALUE, ids=lambda item: type(item).__name__)
def test_a_value_that_would_come_back_as_another_is_refused_by_the_field_s_name(
    value: Any, said: str, serializer: Any
) -> None:
    for _ in range(2):
        with pytest.raises(UnstorableError, match=said) as caught:
            encode_value(value, Policy(serializer=serializer))
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("value", "said"), BY_CLASS[:6])
def test_models_within_plain_data_are_refused_too(value: Any, said: str) -> None:
    for holder in ([value], {"a": (value,)}):
        with pytest.raises(UnstorableError, match=said):
            encode_value(holder, Policy())


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    secret: Revealed = SecretStr("")
    at: datetime = datetime(2024, 1, 1, tzinfo=UTC)
    data: Any = None


class Told(BaseModel):
    """Its secret has a serializer of the class's own."""

    secret: SecretStr

    @field_serializer("secret")
    def _tell(self, secret: SecretStr) -> str:
        return secret.get_secret_value()

    @cached_property
    def length(self) -> int:
        return len(self.secret.get_secret_value())


class Whole(BaseModel):
    a: int
    _b: int = PrivateAttr(default=0)

    @model_serializer
    def _shape(self) -> dict[str, Any]:
        return {"a": self.a}


@dataclass(eq=False)
class Plain:
    price: float
    tags: set[str] = field(default_factory=set[str])
    parent: Plain | None = None
    _hidden: int = 5
    made: int = field(default=0, init=False)


class Empty(msgspec.Struct, tag="empty", array_like=True):
    data: Any = None


class Holding(BaseModel):
    numbers: list[Decimal] = []
    pair: tuple[int, str] = (1, "a")
    model: Open | None = None


class Point(NamedTuple):
    x: int
    y: int


def told() -> Told:
    value = Told(secret=SecretStr("hunter2"))
    assert value.length == 7
    return value


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
@pytest.mark.parametrize(
    "value",
    [
        Open.model_validate({"secret": "hunter2", "more": (1, 2), "data": (1, {2: Decimal(5)})}),
        told(),
        Whole(a=1),
        Plain(2.5, {"a"}, Plain(1.0)),
        Empty((1, datetime(2024, 1, 1, tzinfo=UTC), Plain(1.0))),
        Holding(numbers=[Decimal("1.10")], model=Open()),
        Base(a=1),
        Dog("rex"),
        Point(1, 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_comes_back_as_it_was_is_stored_whatever_is_left_open(value: Any, serializer: Any) -> None:
    """Under `Any` hits are plain data, as they always are."""
    policy = Policy(serializer=serializer)
    for _ in range(2):
        flags, payload = encode_value(value, policy)
        into = Any if isinstance(value, Point) else type(value)
        decode_value(Entry(1, 0, 0, 0, flags, (), payload), into, policy.max_entry)


def test_numbers_that_are_not_equal_to_themselves_come_back_all_the_same() -> None:
    encode_value(Plain(float("nan")), Policy())


def test_a_class_is_read_back_once_and_not_again() -> None:
    made: list[int] = []

    @dataclass
    class Counted:
        a: int

        def __post_init__(self) -> None:
            made.append(self.a)

    for number in range(5):
        encode_value(Counted(number), Policy())
    assert made == [0, 0, 1, 2, 3, 4]


def test_a_value_that_is_refused_says_nothing_of_the_others_of_its_class() -> None:
    with pytest.raises(UnstorableError):
        encode_value(Declares(item=Derived(a=1)), Policy())
    encode_value(Declares(item=Base(a=1)), Policy())


def test_how_many_classes_are_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from stoker.core.entries import codec

    monkeypatch.setattr(codec, "MAX_CLASSES", len(codec._PLAIN) + 3)
    for number in range(10):
        encode_value(msgspec.defstruct(f"Made{number}", ["x"])(number), Policy())
    assert len(codec._come_back) <= len(codec._PLAIN) + 3
    assert codec._come_back >= codec._PLAIN


class Measured(BaseModel):
    at: float
    note: str | None = None


@dataclass
class Score:
    best: float
    rest: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])


INFINITE = float("inf")


@pytest.mark.parametrize(
    "value",
    [
        INFINITE,
        -INFINITE,
        float("nan"),
        [None, {"a": (1.5, INFINITE)}],
        {1.5, INFINITE},
        Score(1.0, {"a": (2.0, float("nan"))}),
        Measured(at=-INFINITE),
        [Measured(at=1.0), Score(INFINITE)],
        [None, 2**70, INFINITE],
    ],
    ids=str,
)
def test_numbers_that_json_stores_as_null_are_refused_there(value: Any) -> None:
    with pytest.raises(UnstorableError, match=r"no infinity and no NaN.*msgpack"):
        encode_value(value, Policy(serializer="json"))


@pytest.mark.parametrize(
    "value",
    [
        [None, 1.5],
        {"null": "null", "a": None},
        [None, 2**70, -(2**70)],
        [None, b"\xcb\x7f\xf0", "\x7f"],
        [None, 0x_CB7F_F000_0000_0000],
        {1: None, 2.5: "null"},
        Measured(at=1.0),
        Score(1e308),
    ],
    ids=str,
)
def test_what_is_null_for_good_is_stored_as_json(value: Any) -> None:
    flags, payload = encode_value(value, Policy(serializer="json"))
    into = dict[float, str | None] if isinstance(value, dict) and 1 in value else type(value)
    again = decode_value(Entry(1, 0, 0, 0, flags, (), payload), into, len(payload))
    assert again == value or isinstance(value, list)  # bytes within a list come back as text


def test_msgpack_has_numbers_that_are_not_finite() -> None:
    flags, payload = encode_value([INFINITE, None], Policy())
    assert decode_value(Entry(1, 0, 0, 0, flags, (), payload), Any, len(payload)) == [INFINITE, None]
