"""What a monitor is told, kept for a while: bounded in number and in age."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

#: Minutes of an hour.
MINUTES = 60


class KeyMade(NamedTuple):
    """A key was made of a text."""

    at: float
    seconds: float
    length: int
    """Characters of the text."""
    tier: str
    """The text's size, by name."""


class Operation(NamedTuple):
    """A cache was asked something."""

    at: float
    """Seconds by the monitor's clock, here and below."""
    name: str
    seconds: float
    hits: int
    """Reads that were hits."""
    misses: int
    length: int


class Compression(NamedTuple):
    """A value was compressed."""

    at: float
    before: int
    after: int
    seconds: float


class MemoryUse(NamedTuple):
    """What memory held."""

    at: float
    bytes: int
    entries: int
    max_entries: int


class Invalidation(NamedTuple):
    """Entries were invalidated."""

    at: float
    what: str
    gone: int
    """How many were unlinked; 0 where nobody knows (a tag)."""
    seconds: float
    kind: str
    context: str
    """Why: what the caller says."""


S = TypeVar("S", KeyMade, Operation, Compression, MemoryUse, Invalidation)


class Series(Generic[S]):
    """Samples of one kind: the newest, and none older than `retention` seconds when they are looked at."""

    __slots__ = ("_asking", "_kept", "add", "retention")

    def __init__(self, limit: int, retention: float) -> None:
        self._kept: deque[S] = deque(maxlen=limit)
        self.retention = retention
        self.add: Callable[[S], None] = self._kept.append
        self._asking = threading.Lock()  # scrapes come from other threads

    def since(self, now: float) -> list[S]:
        """Forget what is too old; return what is left, the oldest first."""
        oldest = now - self.retention
        with self._asking:
            while self._kept and self._kept[0].at < oldest:
                self._kept.popleft()
            return list(self._kept)

    def clear(self) -> None:
        """Forget all."""
        with self._asking:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


class HourlyCount:
    """Counts what happens, by the minute, for an hour: exact however much it is, in bounded memory."""

    __slots__ = ("_lock", "_minutes")

    def __init__(self) -> None:
        self._minutes: deque[list[int]] = deque()
        """The number of a minute, and how often it happened then."""
        self._lock = threading.Lock()  # scrapes come from other threads

    def add(self, now: float) -> None:
        """It happened."""
        minute = int(now // 60)
        with self._lock:
            if self._minutes and self._minutes[-1][0] >= minute:
                self._minutes[-1][1] += 1
            else:
                self._minutes.append([minute, 1])
                self._forget(now)

    def within_an_hour(self, now: float) -> int:
        """Forget what is older; return how often it happened within an hour, to the minute."""
        with self._lock:
            self._forget(now)
            return sum(count for _, count in self._minutes)

    def _forget(self, now: float) -> None:
        oldest = int(now // 60) - MINUTES
        while self._minutes and self._minutes[0][0] < oldest:
            self._minutes.popleft()

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._minutes.clear()
