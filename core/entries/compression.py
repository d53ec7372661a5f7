"""Compression of payloads: zstd or zlib, each at a type's level; decompression within bounds."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeAlias

import zstandard

from stoker.core.errors import EntryError

#: Levels where a type names none: they cost microseconds a kilobyte (docs/benchmarks.md).
ZSTD_LEVEL = 3
ZLIB_LEVEL = 1

Compressed: TypeAlias = Callable[[int, int, float], None]
"""Told of a compression: bytes before, bytes after, seconds."""

#: Who is told of what this task compresses, if anybody.
compressing: ContextVar[Compressed | None] = ContextVar("stoker_compressing", default=None)


class TooLargeError(EntryError):
    """What a payload decompresses to is more than the type allows: whole, perhaps, and of use to others."""


class _Kept(threading.local):
    """What one thread compresses and decompresses with: making one anew costs a tenth of using it."""

    def __init__(self) -> None:
        self.by_level: dict[int, zstandard.ZstdCompressor] = {}
        self.expander = zstandard.ZstdDecompressor()


_kept = _Kept()


def compress(payload: bytes, method: str, level: int | None) -> bytes:
    """Return a payload compressed by `zstd` or `zlib`, at the method's own level where none is given."""
    observer = compressing.get()
    if observer is None:
        return _compress(payload, method, level)
    began = time.perf_counter()
    smaller = _compress(payload, method, level)
    observer(len(payload), len(smaller), time.perf_counter() - began)
    return smaller


def _compress(payload: bytes, method: str, level: int | None) -> bytes:
    if method == "zlib":
        return zlib.compress(payload, level or ZLIB_LEVEL)
    level = level or ZSTD_LEVEL
    compressor = _kept.by_level.get(level)
    if compressor is None:
        compressor = _kept.by_level[level] = zstandard.ZstdCompressor(level=level)
    return compressor.compress(payload)


def expand(payload: bytes, method: str, max_bytes: int) -> bytes:
    """Decompress; the size is judged before memory is taken for it.

    Raises:
        TooLargeError: The payload decompresses to more than `max_bytes`.
        EntryError: It is damaged, or cut off.
    """
    try:
        if method == "zstd":
            size = zstandard.frame_content_size(payload)
            if not 0 <= size <= max_bytes:
                raise TooLargeError(f"decompresses to {size} bytes, more than {max_bytes}")
            return _kept.expander.decompress(payload, max_output_size=max_bytes)
        expander = zlib.decompressobj()
        expanded = expander.decompress(payload, max_bytes + 1)
    except (zstandard.ZstdError, zlib.error) as error:
        raise EntryError(f"the payload can't be decompressed: {error}") from None
    if len(expanded) > max_bytes:
        raise TooLargeError(f"decompresses to more than {max_bytes} bytes")
    if not expander.eof:
        raise EntryError("cut off")
    return expanded
