"""The entries of a memory store, linked into queues."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Slot(Generic[K, T]):
    """An entry's place in the store."""

    __slots__ = ("after", "before", "expires", "in_main", "item", "key", "seen", "visits", "weight")

    key: K
    item: T
    weight: int
    """Bytes."""
    expires: float
    """When it is of no use any more, on the clock of who puts it."""
    visits: int
    """Hits since its queue last looked."""
    seen: int
    """Turn of the last hit."""
    in_main: bool
    before: Slot[K, T]
    after: Slot[K, T]


class Queue(Generic[K, T]):
    """Slots in the order in which they came, linked to each other."""

    __slots__ = ("bytes", "ends", "length")

    def __init__(self) -> None:
        ends: Slot[K, T] = Slot()
        ends.before = ends.after = self.ends = ends
        self.length = 0
        self.bytes = 0

    def push(self, slot: Slot[K, T]) -> None:
        """Put a slot at the end."""
        ends = self.ends
        last = ends.before
        slot.before, slot.after = last, ends
        last.after = ends.before = slot
        self.length += 1
        self.bytes += slot.weight

    def unlink(self, slot: Slot[K, T]) -> None:
        """Take a slot out, wherever it stands."""
        before, after = slot.before, slot.after
        before.after, after.before = after, before
        self.length -= 1
        self.bytes -= slot.weight

    def renew(self, slot: Slot[K, T]) -> None:
        """Move a slot to the end."""
        before, after = slot.before, slot.after
        before.after, after.before = after, before
        ends = self.ends
        last = ends.before
        slot.before, slot.after = last, ends
        last.after = ends.before = slot
