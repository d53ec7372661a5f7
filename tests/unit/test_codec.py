"""Values to bytes and back, also when the bytes are hostile."""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from stoker.core.codec import UnstorableError, decode_value, encode_value
from stoker.core.entry import Entry, make_flags
from stoker.core.errors import EntryError
from stoker.core.policy import Policy

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
