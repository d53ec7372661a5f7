"""Cron lines, read strictly: what is refused is refused with the field and the reason.

The five fields are `minute hour day-of-month month day-of-week`, in UTC. Each is `*`, `*/n`, `a`, `a-b`,
`a-b/n`, or several of these with commas; months and days of the week also have their English names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product

#: The most days a month can have; February's leap day counts.
_DAYS = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}
#: 29 February comes again within eight years, whatever the century does.
_HORIZON_DAYS = 8 * 366 + 1
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:(\*)|([0-9]+|[a-z]{3})(?:-([0-9]+|[a-z]{3}))?)(?:/([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five fields: its name and the numbers and names it takes."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int:
        """Return the number that `text` (digits or a name) stands for, else raise `ValueError`."""
        if text in self.names:
            return self.low + self.names.index(text)
        if not text.isdigit():
            known = f" or one of {', '.join(self.names)}" if self.names else ""
            raise ValueError(f"{self.name}: {text!r} is no number{known}")
        if not self.low <= int(text) <= self.high:
            raise ValueError(f"{self.name}: {text} is not within {self.low}-{self.high}")
        return int(text)


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day-of-month", 1, 31),
    Field("month", 1, 12, _MONTHS),
    Field("day-of-week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line as the sets of values at which it runs; Sunday is 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    def after(self, moment: datetime) -> datetime:
        """Return the first time later than `moment` (aware) at which the line runs, in UTC."""
        start = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        for offset in range(_HORIZON_DAYS):
            day = start.date() + timedelta(days=offset)
            if day.month not in self.months or day.day not in self.days:
                continue
            if day.isoweekday() % 7 not in self.weekdays:
                continue
            for hour, minute in product(sorted(self.hours), sorted(self.minutes)):
                found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                if found >= start:
                    return found
        raise ValueError("the cron line never runs")


def parse_cron(line: str) -> Cron:
    """Read a cron line; raise `ValueError` that names the field and says what is wrong with it."""
    words = line.lower().split()
    if line.strip().startswith("@"):
        raise ValueError(f"{line.strip()!r}: write the five fields out, e.g. '0 * * * *' for each hour")
    if len(words) != len(FIELDS):
        raise ValueError(
            f"a cron line has {len(FIELDS)} fields (minute hour day month weekday), not {len(words)}"
        )
    minutes, hours, days, months, weekdays = (
        _values(field, word) for field, word in zip(FIELDS, words, strict=True)
    )
    cron = Cron(minutes, hours, days, months, frozenset(day % 7 for day in weekdays))
    if len(days) < 31 and len(cron.weekdays) < 7:
        raise ValueError(
            "day-of-month and day-of-week are both restricted, and programs disagree on what that means: "
            "write two entries"
        )
    if all(min(days) > _DAYS[month] for month in months):
        raise ValueError(
            f"day-of-month: no month of {words[3]!r} has a day {min(days)}, so it would never run"
        )
    return cron


def _values(field: Field, word: str) -> frozenset[int]:
    """All values that one field's text names."""
    values: set[int] = set()
    for text in word.split(","):
        match = _PART.fullmatch(text)
        if not match:
            raise ValueError(f"{field.name}: {text!r} is none of *, */n, a, a-b, a-b/n")
        values.update(_range(field, text, match))
    return frozenset(values)


def _range(field: Field, text: str, match: re.Match[str]) -> range:
    first: str | None = match[2]
    last: str | None = match[3]
    step: str | None = match[4]
    if first is None:  # a star; 7 is Sunday's other name, and counting it would begin the week again there
        low, high = field.low, min(field.high, 6) if field.names == _WEEKDAYS else field.high
    else:
        if step and not last:
            raise ValueError(f"{field.name}: {text!r} steps from a single value: write a-b/n or */n")
        low, high = field.number(first), field.number(last or first)
    if low > high:
        raise ValueError(f"{field.name}: {text!r} runs backwards")
    width = int(step) if step else 1
    if not 1 <= width <= max(1, high - low):
        raise ValueError(f"{field.name}: the step of {text!r} is not within 1-{max(1, high - low)}")
    return range(low, high + 1, width)
