"""Space-Saving: the hottest keys of a stream, in bounded memory.

Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements in data streams"
(2005), with weights. With `m` counters over a stream of total weight `N`:

- a tracked key's `count` is never below its true weight, and `count - error` never above it;
- no `error` exceeds `N / m`;
- each key whose true weight is above `N / m` is tracked.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

#: Counters of one sketch: with 1,000 most of the top 100 of flat traffic is lost, with 4,000 it is kept.
COUNTERS = 4096

N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a sketch knows about one key."""

    key: str
    count: float
    """Upper bound of the key's weight."""
    error: float
    """At most so much of `count` may belong to keys that were tracked before it."""


class _Counter(Generic[N]):
    """One counter: bounds, what was not taken yet, and a note of the caller's."""

    __slots__ = ("count", "error", "note", "pending")

    def __init__(self, count: float, error: float, pending: float, note: N | None) -> None:
        self.count = count
        self.error = error
        self.pending = pending
        self.note = note


class Sketch(Generic[N]):
    """Counts the heaviest keys with at most `counters` counters; deterministic.

    Beside its count each tracked key has a *note* (the newest one given: its recipe), and a *pending*
    weight: what was seen of it since it was last taken by [`take`][stoker.core.warming.sketch.Sketch.take].
    Pending weight is never an over-estimate; a key that loses its counter takes its pending weight along.

    The heap holds one item per tracked key whose count may lag behind: counts only grow between
    evictions, so an item is corrected when it surfaces.
    """

    def __init__(self, counters: int = COUNTERS) -> None:
        if counters < 1:
            raise ValueError("a sketch needs at least one counter")
        self.counters = counters
        self._tracked: dict[str, _Counter[N]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._tracked)

    def __contains__(self, key: str) -> bool:
        return key in self._tracked

    def __iter__(self) -> Iterator[Tracked]:
        return (Tracked(key, found.count, found.error) for key, found in self._tracked.items())

    def update(self, weights: Mapping[str, float], notes: Mapping[str, N] | None = None) -> None:
        """Add a batch of positive weights; `notes` replace those of the keys that are tracked afterwards.

        Keys that are tracked already come first, so that no newcomer of a batch displaces one of them
        before its weight has been added.
        """
        tracked = self._tracked
        new: list[tuple[str, float]] = []
        for key, weight in weights.items():
            found = tracked.get(key)
            if found is None:
                new.append((key, weight))
            else:
                found.count += weight
                found.pending += weight
        for key, weight in new:
            self._admit(key, weight)
        for key, note in (notes or {}).items():
            found = tracked.get(key)
            if found is not None:
                found.note = note

    def top(self, limit: int) -> list[Tracked]:
        """The heaviest tracked keys, heaviest first; equals in the order of their keys."""
        best = heapq.nsmallest(limit, ((-found.count, key) for key, found in self._tracked.items()))
        return [Tracked(key, -count, self._tracked[key].error) for count, key in best]

    def floor(self, limit: int) -> float:
        """The count that the `limit` heaviest keys reach; 0 when no more than those are tracked."""
        if len(self._tracked) <= limit:
            return 0.0
        return sorted((found.count for found in self._tracked.values()), reverse=True)[limit - 1]

    def count(self, key: str) -> float:
        """The upper bound of a key's weight; 0 for one that isn't tracked."""
        found = self._tracked.get(key)
        return found.count if found is not None else 0.0

    def take(self, limit: int) -> dict[str, float]:
        """Take the pending weights of up to `limit` keys, the largest; they count from zero again."""
        waiting = [(-found.pending, key) for key, found in self._tracked.items() if found.pending]
        if len(waiting) > limit:
            waiting = heapq.nsmallest(limit, waiting)
        for _, key in waiting:
            self._tracked[key].pending = 0.0
        return {key: -weight for weight, key in waiting}

    def give_back(self, weights: Mapping[str, float]) -> None:
        """Make taken weights pending again (they could not be delivered), for keys still tracked."""
        for key, weight in weights.items():
            found = self._tracked.get(key)
            if found is not None:
                found.pending += weight

    def note(self, key: str) -> N | None:
        """The newest note of a tracked key, or None."""
        found = self._tracked.get(key)
        return found.note if found is not None else None

    def age(self, factor: float) -> None:
        """Multiply counts and errors by `factor` (0 to 1), so that former hot keys make room.

        The bounds then hold for the stream with its weights aged likewise. Pending weights stay.
        """
        for found in self._tracked.values():
            found.count *= factor
            found.error *= factor
        self._heap = [(self._tracked[key].count, order, key) for _, order, key in self._heap]
        heapq.heapify(self._heap)

    def _admit(self, key: str, weight: float) -> None:
        """Give an untracked key a counter: a free one, or that of the lightest key."""
        heap, tracked = self._heap, self._tracked
        self._order += 1
        if len(tracked) < self.counters:
            tracked[key] = _Counter(weight, 0.0, weight, None)
            heapq.heappush(heap, (weight, self._order, key))
            return
        while True:
            lightest, order, victim = heap[0]
            count = tracked[victim].count
            if count == lightest:
                break
            heapq.heapreplace(heap, (count, order, victim))
        del tracked[victim]
        tracked[key] = _Counter(lightest + weight, lightest, weight, None)
        heapq.heapreplace(heap, (lightest + weight, self._order, key))
