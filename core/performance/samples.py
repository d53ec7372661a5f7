"""What a monitor is told, kept for a while: bounded in number and in age."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar


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
    name: str
    seconds: float
    hit: bool | None
    """None for what is no read."""
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

    __slots__ = ("_kept", "add", "retention")

    def __init__(self, limit: int, retention: float) -> None:
        self._kept: deque[S] = deque(maxlen=limit)
        self.retention = retention
        self.add: Callable[[S], None] = self._kept.append

    def since(self, now: float, seconds: float = math.inf) -> list[S]:
        """Forget what is too old; return what is left of the last `seconds`, the oldest first."""
        oldest = now - self.retention
        while self._kept and self._kept[0].at < oldest:
            self._kept.popleft()
        first = now - seconds
        return [sample for sample in self._kept if sample.at >= first]

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)
