"""A bounded store in the process: so many entries, so many bytes; what was used longest ago goes first."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def weigh(value: Any) -> int:
    """Return about how many bytes a value takes."""
    if isinstance(value, dict | list | tuple):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        return sys.getsizeof(value) + sum(sys.getsizeof(item) for item in items)
    return sys.getsizeof(value)


class MemoryStore(Generic[K, V]):
    """Keeps items under keys."""

    def __init__(self, entries: int, max_bytes: int) -> None:
        self._entries = entries
        self._max_bytes = max_bytes
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """Return an item and note that it was used."""
        found = self._items.get(key)
        if found is None:
            return None
        self._items.move_to_end(key)
        return found[0]

    def peek(self, key: K) -> V | None:
        """Return an item."""
        found = self._items.get(key)
        return None if found is None else found[0]

    def put(self, key: K, item: V, weight: int) -> None:
        """Keep an item, and drop others where the bounds ask for it."""
        self.remove(key)
        if weight > self._max_bytes:
            return
        self._items[key] = (item, weight)
        self.bytes += weight
        while len(self._items) > self._entries or self.bytes > self._max_bytes:
            _, (_, freed) = self._items.popitem(last=False)
            self.bytes -= freed

    def remove(self, key: K) -> V | None:
        """Drop an item; return it if it was there."""
        found = self._items.pop(key, None)
        if found is None:
            return None
        self.bytes -= found[1]
        return found[0]
