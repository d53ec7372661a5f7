"""A table from scopes to positions on the log, in a few bytes each and bounded.

A scope is a 64-bit hash. Of it, 8 bits choose one of 256 parts and 32 bits are kept, so two scopes are taken
for one about once in a million look-ups; that costs a needless miss. Parts are arrays with open addressing
that grow on their own: no step takes longer than a millisecond or two, however large the table is.
"""

from __future__ import annotations

import random
from array import array

from stoker.core.log.position import START, join_position, split_position

#: Scopes in a table at most; when there are more, those with the oldest records are dropped.
MAX_SCOPES = 1_250_000

_PARTS = 256
_FIRST_SLOTS = 8

#: Positions have 44 bits of milliseconds and 20 bits of sequence here.
_SEQ_BITS = 20
_SEQ_MASK = (1 << _SEQ_BITS) - 1

#: Positions from here on (the year 2527) are not told from one another.
LIMIT = join_position((1 << 44) - 1, 0)
_TAG_MASK = 0xFFFFFFFF

#: The share of the scopes that is dropped at once, and by how many their positions are estimated.
_DROPPED_SHARE = 0.25
_SAMPLE = 2_000

#: A smaller table is cleaned in one go.
_SMALL = 8_192

_Part = tuple["array[int]", "array[int]", int]
"""Tags (0: free), positions, and the number of slots less one."""


class ScopeTable:
    """Holds the greatest position that was noted for each scope.

    Args:
        bound: Scopes that it holds at most, about.
    """

    def __init__(self, bound: int = MAX_SCOPES) -> None:
        self.bound = bound
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._floor = 0
        self._parts: list[_Part] = [_empty(1)] * _PARTS  # never filled: the first to come grows its part
        self._counts = array("I", bytes(4 * _PARTS))
        self._total = 0
        self._unclean: list[int] = []

    def __len__(self) -> int:
        return self._total

    def last(self, scope: int) -> int:
        """The position that was noted for a scope, or 0."""
        tags, positions, mask = self._parts[scope & 255]
        tag = scope >> 32 & _TAG_MASK or 1
        at = tag & mask
        while found := tags[at]:
            if found == tag:
                stored = positions[at]
                return stored >> _SEQ_BITS << 64 | stored & _SEQ_MASK
            at = at + 1 & mask
        return START

    def note(self, scope: int, position: int) -> None:
        """Keep a position for a scope, if it is greater than what is noted."""
        number = scope & 255
        tags, positions, mask = self._parts[number]
        tag = scope >> 32 & _TAG_MASK or 1
        at = tag & mask
        seq = position & 0xFFFFFFFFFFFFFFFF
        stored = (
            (position >> 64 << _SEQ_BITS | seq)
            if seq <= _SEQ_MASK and position < LIMIT
            else _folded(position)
        )
        while found := tags[at]:
            if found == tag:
                positions[at] = max(positions[at], stored)
                return
            at = at + 1 & mask
        if (self._counts[number] + 1) * 3 > mask * 2:
            self._grow(number, tag, stored)
        else:
            tags[at] = tag
            positions[at] = stored
            self._counts[number] += 1
            self._total += 1
        if self._unclean:
            self._clean(self._unclean.pop())

    def forget(self, position: int) -> None:
        """Drop what has no record after a position; of a large table bit by bit, as others come."""
        self._floor = max(self._floor, _folded(position + 1) - 1)
        self._unclean = list(range(_PARTS))
        if self._total <= _SMALL:
            while self._unclean:
                self._clean(self._unclean.pop())

    @property
    def full(self) -> bool:
        """Whether it holds as many scopes as it may, those aside that are on their way out."""
        return self._total > self.bound and not self._unclean

    def shrink(self) -> int:
        """Drop about a quarter, the oldest; return the position up to which they are not known any more."""
        found = sorted(self._sample())
        cut = found[int(len(found) * _DROPPED_SHARE)]
        position = join_position(cut >> _SEQ_BITS, cut & _SEQ_MASK)
        self.forget(position)
        return position

    def _sample(self) -> list[int]:
        """Positions of scopes, of all or as many as tell how old they are."""
        found: list[int] = []
        for number in random.sample(range(_PARTS), _PARTS):
            tags, positions, _ = self._parts[number]
            found += [position for tag, position in zip(tags, positions, strict=True) if tag]
            if len(found) >= _SAMPLE:
                break
        return found

    def _grow(self, number: int, tag: int, stored: int) -> None:
        """Make room in a part for one more, and put it in."""
        kept = self._live(number)
        kept[tag] = stored
        self._rebuild(number, kept)

    def _clean(self, number: int) -> None:
        """Free what is not needed any more in a part."""
        kept = self._live(number)
        if len(kept) < self._counts[number]:
            self._rebuild(number, kept)

    def _live(self, number: int) -> dict[int, int]:
        tags, positions, _ = self._parts[number]
        floor = self._floor
        return {tag: at for tag, at in zip(tags, positions, strict=True) if tag and at > floor}

    def _rebuild(self, number: int, kept: dict[int, int]) -> None:
        slots = _FIRST_SLOTS
        while len(kept) * 2 > slots:
            slots *= 2
        part = tags, positions, mask = _empty(slots)
        for tag, stored in kept.items():
            at = tag & mask
            while tags[at]:
                at = at + 1 & mask
            tags[at] = tag
            positions[at] = stored
        self._parts[number] = part
        self._total += len(kept) - self._counts[number]
        self._counts[number] = len(kept)


def _empty(slots: int) -> _Part:
    return array("I", bytes(4 * slots)), array("Q", bytes(8 * slots)), slots - 1


def _folded(position: int) -> int:
    """A position in 64 bits, or the next that has such a form: rather a needless miss than a stale read."""
    ms, seq = split_position(min(position, LIMIT))
    if seq > _SEQ_MASK:
        ms, seq = ms + 1, 0
    return ms << _SEQ_BITS | seq
