"""The stored form of an entry: a fixed header, the tags, the payload; docs/wire-format.md specifies it.

    offset  size  what
    0       2     magic "SK"
    2       1     version (1)
    3       1     flags: bits 0-1 serializer, bits 2-3 compression, bit 4 the value is None
    4       8     epoch of the log in which the load began
    12      16    born: the log's position when the load began (milliseconds, sequence)
    28      8     created, unix milliseconds
    36      8     fresh until, unix milliseconds
    44      2     length of the tags in bytes
    46      …     tags, each a length byte and UTF-8
    …       …     payload

All numbers are big-endian. The first 28 bytes are the same in every version: they decide life and death.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from stoker.core.errors import EntryError, UsageError
from stoker.core.keys import check_text, several
from stoker.core.log.position import join_position
from stoker.core.log.scopes import MAX_TAG_BYTES

MAGIC = b"SK"
VERSION = 1

_HEADER = struct.Struct(">2sBBQQQQQH")
HEADER_BYTES = _HEADER.size

#: Header fields as a read looks at them: what it begins with, flags, epoch, born (bytes in this order compare
#: as the numbers do), fresh until, and the length of the tags.
HEAD_OF_READ = struct.Struct(">3sB8s16s8xQH")

#: The same, where only entries of one version, flags and epoch are of use: these are what it begins with.
HEAD_OF_PLAIN = struct.Struct(">12s16s8xQH")

#: Bytes that are the same in every version; they decide life and death.
FROZEN_BYTES = 28
_FROZEN = struct.Struct(">2sBBQQQ")

#: An entry has at most so many tags.
MAX_TAGS = 128

FLAG_NONE = 0b1_0000
_SERIALIZER_MASK = 0b11
COMPRESSION_MASK = 0b1100

SERIALIZERS = ("msgpack", "json")
COMPRESSIONS = ("none", "zstd", "zlib")

#: What entries of this version begin with, and the flags they may have.
BEGINS = MAGIC + bytes((VERSION,))
GOOD_FLAGS = frozenset(
    serializer | compression << 2 | none
    for serializer in range(len(SERIALIZERS))
    for compression in range(len(COMPRESSIONS))
    for none in (0, FLAG_NONE)
)


@dataclass(slots=True)  # not frozen: that would make each of them cost three times as much
class Entry:
    """One stored value, with what decides whether it may be served."""

    epoch: int
    born: int
    """Position on the log when its load began."""
    created_ms: int
    fresh_until_ms: int
    flags: int
    tags: tuple[bytes, ...]
    payload: bytes

    @property
    def is_none(self) -> bool:
        """The value is `None`: there is no such thing, and that is known."""
        return bool(self.flags & FLAG_NONE)

    @property
    def serializer(self) -> str:
        """How the payload was made."""
        return serializer_of(self.flags)

    @property
    def compression(self) -> str:
        """How the payload was compressed."""
        return compression_of(self.flags)


def serializer_of(flags: int) -> str:
    """How the payload was made."""
    return SERIALIZERS[flags & _SERIALIZER_MASK]


def compression_of(flags: int) -> str:
    """How the payload was compressed."""
    return COMPRESSIONS[(flags & COMPRESSION_MASK) >> 2]


def make_flags(serializer: str, compression: str, *, is_none: bool) -> int:
    """The header's flag byte."""
    return (
        SERIALIZERS.index(serializer) | COMPRESSIONS.index(compression) << 2 | (FLAG_NONE if is_none else 0)
    )


def pack_entry(entry: Entry) -> bytes:
    """Return the stored form."""
    head = pack_head(entry.flags, entry.epoch, entry.born, entry.created_ms, entry.fresh_until_ms, entry.tags)
    return head + entry.payload


def pack_head(
    flags: int, epoch: int, born: int, created_ms: int, fresh_until_ms: int, tags: tuple[bytes, ...]
) -> bytes:
    """Return what a stored form has before its payload; see `Entry`."""
    packed = b"".join([bytes((len(tag),)) + tag for tag in tags]) if tags else b""
    fixed = _HEADER.pack(
        MAGIC,
        VERSION,
        flags,
        epoch,
        born >> 64,
        born & 0xFFFF_FFFF_FFFF_FFFF,
        created_ms,
        fresh_until_ms,
        len(packed),
    )
    return fixed + packed if packed else fixed


def unpack_entry(data: bytes) -> Entry:
    """Read the stored form.

    Raises:
        EntryError: The bytes are no entry of a version that is known here, or header or tags are damaged.
    """
    try:
        magic, version, flags, epoch, ms, seq, created, fresh, tags_length = _HEADER.unpack_from(data)
    except struct.error:
        raise EntryError(f"{len(data)} bytes are no entry: a header alone has {HEADER_BYTES}") from None
    if magic != MAGIC or version != VERSION:
        raise EntryError(f"no entry of version {VERSION}: begins with {data[:3].hex()}")
    if flags not in GOOD_FLAGS:
        raise EntryError(f"flags {flags:#04x} are not known to version {VERSION}")
    tags: tuple[bytes, ...] = ()
    start = HEADER_BYTES
    if tags_length:
        start = payload_start(data)
        if not start:
            raise EntryError("its tags are damaged, or cut off")
        tags = _split_tags(data[HEADER_BYTES:start])
    return Entry(epoch, join_position(ms, seq), created, fresh, flags, tags, data[start:])


def frozen_born(data: bytes) -> int | None:
    """Where an entry of whatever version was born; None where the bytes are no entry at all."""
    if len(data) < FROZEN_BYTES or data[:2] != MAGIC:
        return None
    _, _, _, _, ms, seq = _FROZEN.unpack_from(data)
    return join_position(ms, seq)


def header_length(data: bytes) -> int:
    """Bytes of header and tags, from at least the fixed header; so a reader knows whether it has them all."""
    return HEADER_BYTES + int.from_bytes(data[HEADER_BYTES - 2 : HEADER_BYTES])


def payload_start(data: bytes) -> int:
    """Where the payload begins; 0 where header or tags are cut off, or the tags are damaged.

    Without its tags nobody can say whether an entry was invalidated.
    """
    at, end = HEADER_BYTES, header_length(data)
    if end > len(data):
        return 0
    try:
        while at < end:
            tag = at + 1
            at = tag + data[at]
            data[tag:at].decode()
    except UnicodeDecodeError:
        return 0
    return end if at == end else 0


def _split_tags(data: bytes) -> tuple[bytes, ...]:
    """The tags of an entry in which they are whole."""
    tags: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 1 + data[at]
        tags.append(data[at + 1 : end])
        at = end
    return tuple(tags)


def encode_tags(tags: Iterable[str]) -> tuple[bytes, ...]:
    """Return tags as stored: encoded, each once, in order.

    Raises:
        UsageError: A tag is no text, empty or too long, or there are too many.
    """
    if tags == ():
        return ()
    found = dict.fromkeys(check_text("a tag", tag) for tag in several("tags", tags))
    if len(found) > MAX_TAGS:
        raise UsageError(f"an entry has at most {MAX_TAGS} tags, not {len(found)}")
    for tag in found:
        if not 0 < len(tag) <= MAX_TAG_BYTES:
            raise UsageError(f"a tag has 1 to {MAX_TAG_BYTES} bytes, not {len(tag)}")
    return tuple(found)
