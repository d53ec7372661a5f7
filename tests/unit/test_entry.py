"""The stored form: what is written today must be readable for ever, and any bytes must be safe to read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.entries.entry import (
    HEADER_BYTES,
    MAX_TAGS,
    Entry,
    encode_tags,
    header_length,
    make_flags,
    pack_entry,
    unpack_entry,
)
from stoker.core.errors import EntryError, UsageError
from stoker.core.log.position import join_position

SNAPSHOTS = Path(__file__).parent.parent / "snapshots"

VERSION_1 = Entry(
    epoch=0x0123456789ABCDEF,
    born=join_position(1_700_000_000_000, 7),
    created_ms=1_700_000_000_123,
    fresh_until_ms=1_700_000_300_123,
    flags=make_flags("msgpack", "none", is_none=False),
    tags=(b"category:5", "käse".encode()),
    payload=b"\x81\xa1v\x01",
)

entries = st.builds(
    Entry,
    epoch=st.integers(1, 2**64 - 1),
    born=st.builds(join_position, st.integers(0, 2**53), st.integers(0, 2**53)),
    created_ms=st.integers(0, 2**53),
    fresh_until_ms=st.integers(0, 2**53),
    flags=st.builds(
        make_flags,
        st.sampled_from(["msgpack", "json"]),
        st.sampled_from(["none", "zstd", "zlib"]),
        is_none=st.booleans(),
    ),
    tags=st.lists(st.text(min_size=1, max_size=63).map(str.encode), max_size=5).map(tuple),
    payload=st.binary(max_size=200),
)


def test_version_1_is_written_as_it_always_was() -> None:
    stored = bytes.fromhex((SNAPSHOTS / "entry-v1.hex").read_text())

    assert pack_entry(VERSION_1) == stored
    assert unpack_entry(stored) == VERSION_1


@given(entries)
def test_what_is_packed_is_unpacked(entry: Entry) -> None:
    assert unpack_entry(pack_entry(entry)) == entry


@given(st.binary(max_size=300))
def test_any_bytes_are_an_entry_or_an_entry_error(data: bytes) -> None:
    with contextlib.suppress(EntryError):
        unpack_entry(data)


@given(entries, st.data())
def test_a_damaged_entry_is_an_entry_or_an_entry_error(entry: Entry, data: st.DataObject) -> None:
    stored = bytearray(pack_entry(entry))
    stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(stored[: data.draw(st.integers(0, len(stored)))])
    with contextlib.suppress(EntryError):
        unpack_entry(cut)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda b: b"XX" + b[2:], "no entry of version 1"),
        (lambda b: b[:2] + b"\x02" + b[3:], "no entry of version 1"),
        (lambda b: b[:3] + b"\xff" + b[4:], "flags 0xff"),
        (lambda b: b[: HEADER_BYTES - 1], "no entry: a header alone"),
        (lambda b: b[: HEADER_BYTES + 3], "tags are damaged, or cut off"),
        (lambda b: b[:HEADER_BYTES] + b"\xff" + b[HEADER_BYTES + 1 :], "tags are damaged"),
        (lambda b: b[: HEADER_BYTES + 1] + b"\xff" + b[HEADER_BYTES + 2 :], "tags are damaged"),
        (lambda _: pack_entry(replace(VERSION_1, tags=(b"\xc3", b"\xa4"))), "tags are damaged"),
    ],
)
def test_what_is_wrong_is_said(change: Callable[[bytes], bytes], says: str) -> None:
    with pytest.raises(EntryError, match=says):
        unpack_entry(change(pack_entry(VERSION_1)))


@given(entries)
def test_the_header_length_covers_header_and_tags(entry: Entry) -> None:
    stored = pack_entry(entry)
    assert stored[header_length(stored) :] == entry.payload


def test_tags_are_checked() -> None:
    assert encode_tags(["a", "b", "a"]) == (b"a", b"b")
    with pytest.raises(UsageError, match="several texts"):
        encode_tags("abc")
    with pytest.raises(UsageError, match="at most"):
        encode_tags([str(number) for number in range(MAX_TAGS + 1)])
    with pytest.raises(UsageError, match="255 bytes"):
        encode_tags(["ä" * 128])
    with pytest.raises(UsageError, match="1 to"):
        encode_tags([""])
    with pytest.raises(UsageError, match=r"write str\(5\)"):
        encode_tags([5])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="surrogate"):
        encode_tags(["\ud800"])
