"""Names that each have an end, at most so many: which of them ends first is known without a look at all."""

from __future__ import annotations

import heapq

Name = tuple[str, str]


class Deadlines:
    """When each of a bounded number of names ends.

    Args:
        bound: Names that are kept; for one more, the one that ends first is dropped.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._ends: dict[Name, float] = {}
        # What was put anew or removed is still in here, with an end that is no longer its own.
        self._first: list[tuple[float, Name]] = []

    def __len__(self) -> int:
        return len(self._ends)

    def of(self, name: Name) -> float | None:
        """Return when a name ends, or ended; None where it is not known."""
        return self._ends.get(name)

    def put(self, name: Name, ends: float) -> Name | None:
        """Let a name end then; return the name that was dropped for it, if one was."""
        full = len(self._ends) >= self._bound and name not in self._ends
        dropped = self._drop_first() if full else None
        self._ends[name] = ends
        heapq.heappush(self._first, (ends, name))
        if len(self._first) > 2 * self._bound:
            self._first = [(end, known) for known, end in self._ends.items()]
            heapq.heapify(self._first)
        return dropped

    def remove(self, name: Name) -> None:
        """Know a name no longer."""
        self._ends.pop(name, None)

    def _drop_first(self) -> Name:
        while True:
            ends, name = heapq.heappop(self._first)
            if self._ends.get(name) == ends:
                del self._ends[name]
                return name
