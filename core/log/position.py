"""Positions on the invalidation log: stream ids as integers, so that comparing is one operation.

A stream id `ms-seq` has two 64-bit parts; the position is `ms << 64 | seq`. Position 0 is before all.
"""

from __future__ import annotations

from stoker.core.errors import StokerError

_SEQ_BITS = 64
_SEQ_MASK = (1 << _SEQ_BITS) - 1

#: Digits of a part of a stream id at most; a number longer than that is not even read.
_MAX_DIGITS = 20

START = 0
"""Before the first record."""


def parse_position(stream_id: bytes | str) -> int:
    """Return the position of a stream id such as `1700000000000-0`.

    Raises:
        StokerError: It is none: the parts are decimal numbers below 2**64.
    """
    text = stream_id.decode("ascii", "replace") if isinstance(stream_id, bytes) else stream_id
    ms, _, seq = text.partition("-")
    try:
        return join_position(_parse_part(ms), _parse_part(seq or "0"))
    except ValueError:
        raise StokerError(f"{text[:60]!r} is no stream id: expected milliseconds-sequence") from None


def _parse_part(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or not (digits.isascii() and digits.isdecimal()):
        raise ValueError(digits[:60])
    part = int(digits)
    if part > _SEQ_MASK:
        raise ValueError(digits)
    return part


def format_position(position: int) -> str:
    """Return the stream id of a position."""
    return f"{position >> _SEQ_BITS}-{position & _SEQ_MASK}"


def split_position(position: int) -> tuple[int, int]:
    """Return (milliseconds, sequence)."""
    return position >> _SEQ_BITS, position & _SEQ_MASK


def join_position(ms: int, seq: int) -> int:
    """The opposite of `split_position`."""
    return ms << _SEQ_BITS | seq


def position_ms(position: int) -> int:
    """The server's unix time of the record there, in milliseconds."""
    return position >> _SEQ_BITS
