"""The truth about every key, in memory that all processes of a run share.

Each key has one process that writes it. It raises `source` (the commit), invalidates, and raises
`acknowledged` once the invalidation is acknowledged. Whoever reads notes `acknowledged` *before* the read
begins: a value of an older version is stale. The times of acknowledgements are kept too, for reads that may
lag. All survives the SIGKILL of any process: numbers are written whole.
"""

from __future__ import annotations

import mmap
import time

#: What each process counts.
TALLIES = (
    "reads",
    "checked",
    "from_cache",
    "from_memory",
    "misses",
    "lagging",
    "unjudged",
    "stale",
    "loads",
    "not_modified",
    "writes",
    "acknowledged",
    "stored",
    "swept",
    "evicted",
    "duplicated",
    "errors",
)
"""`checked`: reads that returned a value of a key with an acknowledged change; `from_cache`: those of them
that no load answered; `from_memory`: reads that the memory tier answered; `lagging`: bounded reads behind the
newest acknowledged version, within the bound; `unjudged`: bounded reads of a key that changed too often to be
judged; `stored`: sets and write-throughs that were stored; `errors`: calls that raised."""

#: Acknowledgements remembered for each key.
REMEMBERED = 64

#: Processes that may count: those that read and write, and one for mishaps.
SLOTS = 16

#: Buckets of the lag of bounded reads, in milliseconds, the last without end.
LAG_BOUNDS_MS = (1, 2, 5, 10, 15, 20, 30, 50, 75, 100, 150, 250, 500, 1_000)

_STOP, _FOUND = 0, 1
_HEAD = 8


class Board:
    """Numbers in shared memory; a forked process sees the same."""

    def __init__(self, keys: int) -> None:
        self.keys = keys
        self._acknowledged = _HEAD + keys
        self._next = self._acknowledged + keys
        self._ring = self._next + keys
        self._tallies = self._ring + keys * REMEMBERED * 2
        self._lags = self._tallies + SLOTS * len(TALLIES)
        size = self._lags + SLOTS * (len(LAG_BOUNDS_MS) + 1)
        self._memory = mmap.mmap(-1, size * 8)
        self._at = memoryview(self._memory).cast("q")

    # -- the run ----------------------------------------------------------------------------------

    @property
    def stopping(self) -> bool:
        """Whether all processes are to end."""
        return bool(self._at[_STOP])

    def stop(self) -> None:
        """Ask all processes to end."""
        self._at[_STOP] = 1

    @property
    def found(self) -> int | None:
        """The key of the first stale read."""
        return self._at[_FOUND] - 1 if self._at[_FOUND] else None

    def find(self, key: int) -> None:
        """Note a stale read; all processes tell what they know of the key."""
        if not self._at[_FOUND]:
            self._at[_FOUND] = key + 1

    # -- the truth --------------------------------------------------------------------------------

    def source(self, key: int) -> int:
        """The version that the source has now."""
        return self._at[_HEAD + key]

    def commit(self, key: int) -> int:
        """Give the source a new version; only the key's own process may."""
        self._at[_HEAD + key] += 1
        return self._at[_HEAD + key]

    def acknowledged(self, key: int) -> int:
        """The newest version whose invalidation was acknowledged."""
        return self._at[self._acknowledged + key]

    def acknowledge(self, key: int, version: int) -> None:
        """Note an acknowledgement, now; only the key's own process may."""
        if version <= self._at[self._acknowledged + key]:
            return
        number = self._at[self._next + key]
        place = self._ring + 2 * (key * REMEMBERED + number % REMEMBERED)
        self._at[place] = version
        self._at[place + 1] = time.monotonic_ns()
        self._at[self._next + key] = number + 1
        self._at[self._acknowledged + key] = version

    def acknowledged_before(self, key: int, when: int) -> int | None:
        """The newest version acknowledged at `when` (ns) or before; None where that is not remembered."""
        last = self._at[self._next + key]
        for number in range(last - 1, max(-1, last - REMEMBERED), -1):
            place = self._ring + 2 * (key * REMEMBERED + number % REMEMBERED)
            if self._at[place + 1] <= when:
                return self._at[place]
        return 0 if last < REMEMBERED else None

    def behind_since(self, key: int, version: int) -> int | None:
        """When (ns) a version above `version` was first acknowledged; None where that is not remembered."""
        last = self._at[self._next + key]
        found: int | None = None
        for number in range(last - 1, max(-1, last - REMEMBERED), -1):
            place = self._ring + 2 * (key * REMEMBERED + number % REMEMBERED)
            if self._at[place] <= version:
                return found
            found = self._at[place + 1]
        return found if last < REMEMBERED else None

    # -- counts -----------------------------------------------------------------------------------

    def count(self, slot: int, name: str, amount: int = 1) -> None:
        """Count for a process."""
        self._at[self._tallies + slot * len(TALLIES) + TALLIES.index(name)] += amount

    def counted(self, name: str) -> int:
        """The count of all processes."""
        index = TALLIES.index(name)
        return sum(self._at[self._tallies + slot * len(TALLIES) + index] for slot in range(SLOTS))

    def note_lag(self, slot: int, nanoseconds: int) -> None:
        """Count how far behind a bounded read was."""
        milliseconds = nanoseconds / 1e6
        bucket = next(
            (n for n, bound in enumerate(LAG_BOUNDS_MS) if milliseconds <= bound), len(LAG_BOUNDS_MS)
        )
        self._at[self._lags + slot * (len(LAG_BOUNDS_MS) + 1) + bucket] += 1

    def lags(self) -> dict[str, int]:
        """Lagging reads by how far behind they were."""
        width = len(LAG_BOUNDS_MS) + 1
        found = [sum(self._at[self._lags + slot * width + n] for slot in range(SLOTS)) for n in range(width)]
        names = [f"<= {bound} ms" for bound in LAG_BOUNDS_MS] + [f"> {LAG_BOUNDS_MS[-1]} ms"]
        return {name: count for name, count in zip(names, found, strict=True) if count}


class Tally:
    """The counts of one process, by quick names."""

    def __init__(self, board: Board, slot: int) -> None:
        self._board = board
        self._slot = slot

    def __call__(self, name: str, amount: int = 1) -> None:
        """Count."""
        self._board.count(self._slot, name, amount)

    def lag(self, nanoseconds: int) -> None:
        """How far behind a bounded read was."""
        self._board.note_lag(self._slot, nanoseconds)
