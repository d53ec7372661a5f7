"""The schedule as Celery beat understands it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from celery.schedules import BaseSchedule

from stoker.core.settings.policy import parse_seconds
from stoker.schedules.model import ScheduleEntry
from stoker.schedules.plan import Scheduled, expires_seconds, plan
from stoker.schedules.timetable import Timetable, timetable

#: Before each task's name, as Celery knows it.
TASK_PREFIX = "stoker."


class BeatTimetable(BaseSchedule):  # type: ignore[misc]  # Celery publishes no types
    """A [`Timetable`][stoker.schedules.timetable.Timetable] in the form that beat asks."""

    def __init__(self, times: Timetable, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__()
        self.times = times
        self._clock = clock

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return self._clock()

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is until the first run after `last_run_at`; negative once it is due."""
        return self.times.run_after(last_run_at) - self.now()

    def is_due(self, last_run_at: datetime) -> tuple[bool, Any]:
        """Return whether a run is due, and in how many seconds to look again.

        Runs that were missed are made up for once, not one by one. A last run in the future (the clock was
        set back, or another machine's runs ahead) counts as now: else nothing would run until then.
        """
        now = self.now()
        due = self.times.run_after(min(last_run_at, now)) <= now
        return due, (self.times.run_after(now) - now).total_seconds()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BeatTimetable):
            return NotImplemented
        return self.times == other.times

    def __hash__(self) -> int:
        return hash(self.times)

    def __repr__(self) -> str:
        return f"<{self.times.rule}>"


def beat_schedule(config: Scheduled) -> dict[str, dict[str, Any]]:
    """Return the whole schedule in the form of Celery's setting `beat_schedule`."""
    return {name: beat_entry(name, entry, config.prefix) for name, entry in plan(config).items()}


def beat_entry(name: str, entry: ScheduleEntry, prefix: str) -> dict[str, Any]:
    """Return one entry of Celery's `beat_schedule`."""
    return {
        "task": TASK_PREFIX + entry.task,
        "schedule": BeatTimetable(timetable(entry, f"{prefix}:{name}")),
        "kwargs": task_arguments(entry),
        "options": {"expires": expires_seconds(entry)},
    }


def task_arguments(entry: ScheduleEntry) -> dict[str, Any]:
    """Return an entry's options as the task's arguments: `type` as `cache_type`, lengths as numbers."""
    arguments = dict(entry.options)
    if "type" in arguments:
        arguments["cache_type"] = arguments.pop("type")
    if "seconds" in arguments:
        arguments["seconds"] = parse_seconds(arguments["seconds"])
    if "windows" in arguments:
        arguments["windows"] = [int(parse_seconds(window)) for window in arguments["windows"]]
    return arguments
