"""Pacing: after a failover all entries are stale at once, and must not all be loaded again at once.

While one of them waits for its turn it is served as it is. The pace is the one that warming has: it is what
the type's source is said to bear, beside the reads.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from stoker.core.settings.policy import WarmPolicy

T = TypeVar("T")


class _Pace:
    """One type's loads: so many at once, and so many a second."""

    __slots__ = ("at", "running", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.at = now
        self.running = 0


class Pacing:
    """Admits loads that nobody waits for, by cache type."""

    def __init__(self) -> None:
        self._paces: dict[str, _Pace] = {}

    def admits(self, cache_type: str, policy: WarmPolicy) -> bool:
        """Whether a load may start now; who is told so carries it out by `run`, or says when it has ended."""
        now = time.monotonic()
        pace = self._paces.get(cache_type)
        if pace is None:
            pace = self._paces[cache_type] = _Pace(policy.concurrency, now)
        earned = (now - pace.at) * policy.loads_per_second
        pace.tokens, pace.at = min(pace.tokens + earned, policy.concurrency), now
        if pace.running >= policy.concurrency or pace.tokens < 1:
            return False
        pace.tokens -= 1
        pace.running += 1
        return True

    async def run(self, cache_type: str, load: Coroutine[Any, Any, T]) -> T:
        """Carry out a load that was admitted."""
        try:
            return await load
        finally:
            self.ended(cache_type)

    def ended(self, cache_type: str) -> None:
        """A load that was admitted has ended."""
        self._paces[cache_type].running -= 1
