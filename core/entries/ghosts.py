"""What a memory store remembers of evicted entries: when they were last asked for, not what they were."""

from __future__ import annotations

from array import array
from collections.abc import Hashable

#: Cells for each entry that the store holds: so many evictions are remembered, roughly.
CELLS_PER_ENTRY = 4

_LOW = 0xFFFF_FFFF
_WORD = 0xFFFF_FFFF_FFFF_FFFF
#: Spreads hashes of small numbers over the whole word (2**64 divided by the golden ratio).
_SPREAD = 0x9E37_79B9_7F4A_7C15


class Ghosts:
    """A table of fixed size in which the newest memory of a cell replaces the older one.

    A key is told by 32 bits of its hash: in some 2**32 questions one is answered wrongly, which costs a poor
    choice of an entry to evict, and nothing else.
    """

    __slots__ = ("_left", "_seen", "_shift", "_tags", "cells")

    def __init__(self, entries: int) -> None:
        bits = max(6, (entries * CELLS_PER_ENTRY - 1).bit_length())
        self.cells = 1 << bits
        self._shift = 64 - bits
        blank = bytes(4 * self.cells)
        self._tags = array("I", blank)
        self._seen = array("I", blank)
        self._left = array("I", blank)

    def bury(self, key: Hashable, seen: int, left: int) -> None:
        """Remember of a key two numbers, of which the lower 32 bits are kept."""
        spread = hash(key) * _SPREAD & _WORD
        cell = spread >> self._shift
        self._tags[cell] = spread & _LOW | 1
        self._seen[cell] = seen & _LOW
        self._left[cell] = left & _LOW

    def recall(self, key: Hashable) -> tuple[int, int] | None:
        """Return the numbers that are remembered of a key, and forget them."""
        spread = hash(key) * _SPREAD & _WORD
        cell = spread >> self._shift
        if self._tags[cell] != spread & _LOW | 1:
            return None
        self._tags[cell] = 0
        return self._seen[cell], self._left[cell]


def distance(later: int, earlier: int) -> int:
    """How far two numbers are apart of which the earlier one is known by its lower 32 bits."""
    return (later - earlier) & _LOW
