"""Names that are left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from stoker.core.deadlines import Deadlines

#: Names that are kept; when more come, those are forgotten whose time is over first.
MAX_NAMES = 10_000


class Throttle:
    """Remembers until when something is to be left alone, in bounded memory.

    Args:
        bound: Names that are kept.
        clock: Monotonic time, in seconds.
    """

    def __init__(self, bound: int = MAX_NAMES, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = Deadlines(bound)

    def hold(self, name: tuple[str, str], seconds: float) -> None:
        """Leave a name alone for so long from now."""
        self._until.put(name, self._clock() + seconds)

    def holds(self, name: tuple[str, str]) -> bool:
        """Whether a name is to be left alone now."""
        until = self._until.of(name)
        if until is None:
            return False
        if until > self._clock():
            return True
        self._until.remove(name)
        return False

    def free(self, name: tuple[str, str]) -> None:
        """Leave a name alone no longer."""
        self._until.remove(name)

    def __len__(self) -> int:
        return len(self._until)
