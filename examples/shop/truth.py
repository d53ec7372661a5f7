"""What a client may expect to read, after what it wrote: the arithmetic of stale reads and of misses.

Times are in seconds on one clock of the client's. Reads are judged some time after they ended, so that the
reply of a write that was slower than its invalidation is known by then.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

MissKind = Literal["cold", "invalidated", "expired"]

#: Records of others' events are forgotten after so many seconds.
_FORGET_SECONDS = 60.0


@dataclass(slots=True)
class _Write:
    product: int
    version: int
    replied: float
    recorded: float | None = None


@dataclass(slots=True)
class _Floor:
    """From `since` on, a read of the product has to return `version` or a later one."""

    since: float
    version: int


@dataclass(slots=True)
class _Blame:
    """Whose doing a miss of a product is."""

    cold_until: float
    """Reads that began before the product's first answer may find nothing."""
    invalidated_since: float | None = None
    """The last invalidation was applied then (endless: not yet), and no read renewed the entry since."""
    invalidated_until: float = 0.0
    """Reads that began before the renewal was answered may have waited for it."""

    def of_write(self, began: float) -> bool:
        """Whether a miss of a read that began then is a write's doing."""
        return self.invalidated_since is not None or began < self.invalidated_until


@dataclass(slots=True)
class Verdicts:
    """How many reads were judged, and how many were stale."""

    judged: int = 0
    judged_after_write: int = 0
    """Of those, reads of products that had a write applied before: only they can be stale."""
    stale_after_applied: int = 0
    """Began after the client had seen the write's record in the log, and returned an older version."""
    stale_before_applied: int = 0
    """Began after the write's reply, but before its record was seen: nothing is promised yet."""
    examples: list[str] = field(default_factory=list[str])
    """The first few reads that were stale after their event had been applied."""


class Truth:
    """Follows writes, their records in the log, and reads."""

    def __init__(self) -> None:
        self.verdicts = Verdicts()
        self._writes: dict[str, _Write] = {}
        self._early: dict[str, float] = {}
        self._applied: dict[int, list[_Floor]] = {}
        self._written: dict[int, list[_Floor]] = {}
        self._reads: deque[tuple[float, int, int]] = deque()
        self._pending: dict[int, int] = {}
        self._blames: dict[int, _Blame] = {}

    def writing(self, product: int) -> None:
        """A write is being sent: until it is known to be applied, a miss of the product may be its doing."""
        # Perhaps before the first read of it is answered, whose value it keeps from being stored.
        blame = self._blames.setdefault(product, _Blame(cold_until=float("inf")))
        blame.invalidated_since = float("inf")

    def wrote(self, event_id: str, product: int, version: int, at: float) -> None:
        """The reply of a write came at `at`: the product's version, and the event that will be in the log."""
        write = _Write(product, version, at)
        _raise(self._written, product, at, version)
        self._pending[product] = self._pending.get(product, 0) + 1
        self._writes[event_id] = write
        early = self._early.pop(event_id, None)
        if early is not None:
            self._apply(event_id, early)

    def recorded(self, event_id: str, at: float) -> bool:
        """An event's record was seen in the log at `at`. True if it is of a write whose reply is known."""
        if event_id in self._writes:
            return self._apply(event_id, at)
        self._early[event_id] = at
        return False

    def awaits_reply(self, event_id: str) -> bool:
        """Whether the record of an event was seen, and it is not known (yet) whose it is."""
        return event_id in self._early

    def unrecorded(self) -> int:
        """Writes whose record has not been seen."""
        return len(self._writes)

    def read(self, product: int, version: int, began: float) -> None:
        """A read that began at `began` returned `version`; it will be judged by `settle`."""
        self._reads.append((began, product, version))

    def miss(self, product: int, *, began: float, ended: float, missed: bool) -> MissKind | None:
        """Note a read's outcome; for a miss return its kind.

        `expired`: it was read before, and nothing was written since that would have made it go.
        """
        blame = self._blames.setdefault(product, _Blame(cold_until=ended))
        blame.cold_until = min(blame.cold_until, ended)
        kind: MissKind | None = None
        if missed:
            kind = (
                "cold" if began < blame.cold_until else "invalidated" if blame.of_write(began) else "expired"
            )
        since = blame.invalidated_since
        if since is not None and began > since:
            # What is cached now was loaded after the last invalidation: when it goes, it expires.
            blame.invalidated_since = None
            blame.invalidated_until = ended
        return kind

    def settle(self, before: float) -> None:
        """Judge the reads that began before `before`: the replies of all writes until then have come."""
        while self._reads and self._reads[0][0] < before:
            self._judge(*self._reads.popleft())
        for floors in (self._applied, self._written):
            for product in list(floors):
                _prune(floors[product], before)
        for event_id in [event_id for event_id, at in self._early.items() if at < before - _FORGET_SECONDS]:
            del self._early[event_id]

    def _apply(self, event_id: str, at: float) -> bool:
        write = self._writes.pop(event_id)
        _raise(self._applied, write.product, at, write.version)
        self._pending[write.product] -= 1
        if not self._pending[write.product]:
            del self._pending[write.product]
            if write.product in self._blames:
                self._blames[write.product].invalidated_since = at
        return True

    def _judge(self, began: float, product: int, version: int) -> None:
        self.verdicts.judged += 1
        applied = _floor(self._applied.get(product), began)
        self.verdicts.judged_after_write += applied > 0
        if version < applied:
            self.verdicts.stale_after_applied += 1
            if len(self.verdicts.examples) < 5:
                self.verdicts.examples.append(f"product {product}: version {version}, {applied} was applied")
        elif version < _floor(self._written.get(product), began):
            self.verdicts.stale_before_applied += 1


def _raise(floors: dict[int, list[_Floor]], product: int, since: float, version: int) -> None:
    floors.setdefault(product, []).append(_Floor(since, version))


def _floor(floors: list[_Floor] | None, began: float) -> int:
    """The highest version that held when a read began."""
    return max((floor.version for floor in floors or () if floor.since < began), default=0)


def _prune(floors: list[_Floor], before: float) -> None:
    """Make one floor of all that hold for every read still to be judged."""
    old = [floor for floor in floors if floor.since < before]
    if len(old) > 1:
        floor = _Floor(max(floor.since for floor in old), max(floor.version for floor in old))
        floors[:] = [floor, *(floor for floor in floors if floor.since >= before)]
