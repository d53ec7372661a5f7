"""When an entry runs: fixed slots on the clock, each delayed by its own jitter.

Slots stand on the clock (`every: 30s` runs at :00 and :30), not at a distance from the last run, so no
delay of one run moves the next. A slot's jitter is drawn from a hash of the entry's name and the slot:
every run has another one, and a beat that takes over comes to the same time as the one that died.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from stoker.schedules.cron import parse_cron
from stoker.schedules.model import ScheduleEntry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Interval:
    """Slots at whole multiples of `seconds` since the Unix epoch."""

    seconds: float

    def after(self, moment: datetime) -> datetime:
        """Return the first slot later than `moment` (aware), in UTC."""
        slots = (moment - _EPOCH) // timedelta(seconds=self.seconds) + 1
        return _EPOCH + slots * timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Timetable:
    """All times at which one entry runs."""

    seed: str
    """Sets the jitter apart from that of other entries: the entry's name, with the prefix before it."""
    jitter: float
    """Each run starts later than its slot by 0 up to this, in seconds; shorter than the slots' distance."""
    rule: str
    """The rule as it was written."""
    slot_after: Callable[[datetime], datetime] = field(compare=False)
    """The rule: maps a time to the first slot after it."""

    def run_after(self, moment: datetime) -> datetime:
        """Return the first run later than `moment` (aware), in UTC."""
        slot = self.slot_after(moment - timedelta(seconds=self.jitter))
        while (run := slot + self._jitter(slot)) <= moment:
            slot = self.slot_after(slot)
        return run

    def runs_after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the runs later than `moment` (aware), in UTC, without end."""
        while True:
            moment = self.run_after(moment)
            yield moment

    def _jitter(self, slot: datetime) -> timedelta:
        if not self.jitter:
            return timedelta()
        digest = hashlib.blake2b(f"{self.seed}\0{slot.timestamp()!r}".encode(), digest_size=8).digest()
        return timedelta(seconds=self.jitter * int.from_bytes(digest) / 2**64)


def timetable(entry: ScheduleEntry, name: str = "") -> Timetable:
    """Return the timetable of an entry that is called `name`."""
    if entry.every is not None:
        return Timetable(name, entry.jitter, f"every {entry.every:g} s", Interval(entry.every).after)
    line = entry.cron or ""
    return Timetable(name, entry.jitter, f"cron {line}", parse_cron(line).after)


def next_runs(entry: ScheduleEntry, count: int, now: datetime, *, name: str = "") -> list[datetime]:
    """Return the next `count` runs of an entry after `now` (aware), in UTC; none if it is not enabled."""
    if not entry.enabled:
        return []
    runs = timetable(entry, name).runs_after(now)
    return [next(runs) for _ in range(count)]
