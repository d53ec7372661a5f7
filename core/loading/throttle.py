"""Names that are left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Names that are kept; when more come, the oldest are forgotten first.
MAX_NAMES = 10_000


class Throttle:
    """Remembers until when something is to be left alone, in bounded memory.

    Args:
        bound: Names that are kept.
        clock: Monotonic time, in seconds.
    """

    def __init__(self, bound: int = MAX_NAMES, clock: Callable[[], float] = time.monotonic) -> None:
        self._bound = bound
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def hold(self, name: tuple[str, str], seconds: float) -> None:
        """Leave a name alone for so long from now."""
        now = self._clock()
        self._until.pop(name, None)
        if len(self._until) >= self._bound:
            self._until = {held: until for held, until in self._until.items() if until > now}
            while len(self._until) >= self._bound:
                del self._until[next(iter(self._until))]
        self._until[name] = now + seconds

    def holds(self, name: tuple[str, str]) -> bool:
        """Whether a name is to be left alone now."""
        until = self._until.get(name)
        if until is None:
            return False
        if until > self._clock():
            return True
        del self._until[name]
        return False

    def free(self, name: tuple[str, str]) -> None:
        """Leave a name alone no longer."""
        self._until.pop(name, None)

    def __len__(self) -> int:
        return len(self._until)
