"""Values to bytes and back, also when the bytes are hostile."""

from __future__ import annotations

import contextlib
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field

from stoker.core.entries.codec import UnstorableError, check_decodable, decode_value, encode_value
from stoker.core.entries.entry import Entry, make_flags
from stoker.core.errors import EntryError, UsageError
from stoker.core.settings.policy import Policy

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Struct(msgspec.Struct):
    name: str
    price: float


@dataclass
class Data:
    name: str
    tags: list[str]


class Model(BaseModel):
    name: str
    count: int


class Strict(BaseModel):
    """What doesn't validate its own dump, unless it is asked in the right way."""

    model_config = ConfigDict(strict=True, extra="forbid")

    count: int = Field(alias="Count")
    at: datetime

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return self.count * 2


@dataclass
class Holder:
    model: Model | None
    data: bytes


class StructHolder(msgspec.Struct):
    models: list[Model]
    inner: StructHolder | None = None


@dataclass
class Angry:
    name: str

    def __post_init__(self) -> None:
        if self.name == "angry":
            raise LookupError("of the type's own making")


class Stranger:
    """A class that no serializer knows."""


def through(value: Any, policy: Policy, into: Any = Any) -> Any:
    flags, payload = encode_value(value, policy)
    return decode_value(Entry(1, 0, 0, 0, flags, (), payload), into, policy.max_entry)


@given(values, st.sampled_from(["msgpack", "json"]), st.sampled_from(["none", "zstd", "zlib"]))
def test_values_come_back_the_same(value: Any, serializer: Any, compression: Any) -> None:
    policy = Policy(serializer=serializer, compression=compression, compress_above=16)
    assert through(value, policy) == value


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_values_come_back_as_the_type_that_is_asked_for(serializer: Any) -> None:
    policy = Policy(serializer=serializer)
    for value in (Struct("tea", 1.5), Data("tea", ["a"]), Model(name="tea", count=3)):
        assert through(value, policy, type(value)) == value
    assert through(Struct("tea", 1.5), policy) == {"name": "tea", "price": 1.5}
    assert through([Struct("tea", 1.5)], policy, list[Struct]) == [Struct("tea", 1.5)]


MODEL = Model(name="tea", count=3)


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("value", "into"),
    [
        (MODEL, Model | None),
        ([MODEL], list[Model]),
        ({"a": [MODEL, None]}, dict[str, list[Model | None]]),
        ((MODEL, b"\xff"), tuple[Model, bytes]),
        (Holder(MODEL, b"\xff"), Holder),
        (StructHolder([MODEL], StructHolder([])), StructHolder),
        (Strict(Count=1, at=datetime(2024, 1, 1, tzinfo=UTC)), Strict | Model),
        ([Strict(Count=1, at=datetime(2024, 1, 1, tzinfo=UTC))], list[Strict]),
        ([MODEL, "text"], list[Model | str]),
        (OrderedDict(a=MODEL), OrderedDict[str, Model]),
        ([MODEL], Annotated[list[Model], ["not hashable"]]),
        ([1, 2], Annotated[list[int], {"not": "hashable"}]),
        ({"a": 1}, object),
    ],
    ids=str,
)
def test_models_come_back_from_anywhere_in_a_type(value: Any, into: Any, serializer: Any) -> None:
    check_decodable(into)
    for _ in range(2):
        assert through(value, Policy(serializer=serializer), into) == value


@pytest.mark.parametrize("into", [Stranger, list[Stranger], Model | Stranger, StructHolder | Stranger, 5])
def test_a_type_that_cannot_be_made_is_refused_at_once_and_never_by_a_read(into: Any) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="can be made from what is stored"):
            check_decodable(into)
        with pytest.raises(EntryError):
            through("tea", Policy(), into)


@pytest.mark.parametrize("into", [Angry, Annotated[Angry, []], list[Angry] | None])
def test_whatever_a_type_raises_is_an_entry_error(into: Any) -> None:
    value = {"name": "angry"}
    with pytest.raises(EntryError):
        through([value] if into == list[Angry] | None else value, Policy(), into)


def test_large_payloads_are_compressed_and_incompressible_ones_are_not() -> None:
    policy = Policy(compress_above=100)
    flags, payload = encode_value("tea " * 1000, policy)
    assert Entry(1, 0, 0, 0, flags, (), payload).compression == "zstd"
    assert len(payload) < 100
    flags, _ = encode_value("short", policy)
    assert Entry(1, 0, 0, 0, flags, (), b"").compression == "none"


@pytest.mark.parametrize("value", [object(), {1, object()}, 2**70, lambda: None])
def test_what_no_serializer_knows_is_refused(value: Any) -> None:
    with pytest.raises(UnstorableError):
        encode_value(value, Policy())


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(UnstorableError, match="max_entry"):
        encode_value("x" * 2000, Policy(max_entry=1000))


@pytest.mark.parametrize("compression", ["zstd", "zlib"])
def test_a_bomb_is_not_expanded(compression: str) -> None:
    bomb = b"\0" * 50_000_000
    payload = zstandard.compress(bomb) if compression == "zstd" else zlib.compress(bomb)
    entry = Entry(1, 0, 0, 0, make_flags("msgpack", compression, is_none=False), (), payload)
    with pytest.raises(EntryError, match="more than"):
        decode_value(entry, Any, 1_000_000)


def test_a_zstd_frame_that_hides_its_size_is_refused() -> None:
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 50_000_000)
    entry = Entry(1, 0, 0, 0, make_flags("msgpack", "zstd", is_none=False), (), packed)
    with pytest.raises(EntryError):
        decode_value(entry, Any, 1_000_000)


@given(
    st.binary(max_size=100), st.sampled_from(["msgpack", "json"]), st.sampled_from(["none", "zstd", "zlib"])
)
def test_any_payload_is_a_value_or_an_entry_error(data: bytes, serializer: str, compression: str) -> None:
    entry = Entry(1, 0, 0, 0, make_flags(serializer, compression, is_none=False), (), data)
    for into in (Any, Struct, Model):
        with contextlib.suppress(EntryError):
            decode_value(entry, into, 10_000)


@pytest.mark.parametrize("nested", [b"\x91" * 200_000 + b"\xc0", b"[" * 200_000])
def test_deep_nesting_is_an_entry_error(nested: bytes) -> None:
    serializer = "json" if nested.startswith(b"[") else "msgpack"
    entry = Entry(1, 0, 0, 0, make_flags(serializer, "none", is_none=False), (), nested)
    with pytest.raises(EntryError):
        decode_value(entry, Any, 1_000_000)
