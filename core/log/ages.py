"""Since when a process has known that the log brought nothing after a position.

A value that was loaded when the log stood at a position is as good as one loaded at the last moment at which
nothing younger stood there. So the age of a load can be told from its position alone.
"""

from __future__ import annotations

from bisect import bisect_right

#: Readings of the log that are remembered; what is older than them counts as too old.
MOST = 4_096


class Ages:
    """When the readings of the log were, each by the position up to which it brought records."""

    def __init__(self) -> None:
        self._positions: list[int] = []
        self._before: list[float] = []
        self._forgotten = 0

    def note(self, position: int, proved: float) -> None:
        """The log was read on to `position`; the answer before that one was asked for at `proved`."""
        self._positions.append(position)
        self._before.append(proved)
        if len(self._positions) > MOST:
            half = MOST // 2
            self._forgotten = self._positions[half - 1]
            del self._positions[:half], self._before[:half]

    def restart(self, position: int) -> None:
        """The log was looked at anew, and read up to `position`."""
        self._positions.clear()
        self._before.clear()
        self._forgotten = position

    def since(self, born: int, proved: float) -> float:
        """The last moment at which nothing younger than `born` was known, or `-inf` where nobody knows.

        Args:
            born: A load's position.
            proved: When the last answered look at the log was sent.
        """
        if born < self._forgotten:
            return float("-inf")
        at = bisect_right(self._positions, born)
        return self._before[at] if at < len(self._before) else proved
