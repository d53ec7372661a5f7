"""One entry of the schedule: which task, how often, and with what."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from stoker.core.settings.policy import Model, PositiveSeconds, Seconds
from stoker.schedules.cron import parse_cron

TaskName = Literal["warm", "cleanup_metrics", "compute_hit_rates", "sweep", "invalidate"]
"""What a schedule can run; Celery knows each as `stoker.<name>`."""

#: In `options.type`: one run for each cache type that can be warmed.
EVERY_TYPE = "*"

#: Two runs of a cron line are never closer than this.
_SHORTEST_CRON_SECONDS = 60


def _check_cron(line: str) -> str:
    parse_cron(line)
    return line


class ScheduleEntry(Model):
    """One line of the schedule: a task, when it runs, and its options."""

    task: TaskName
    """What runs."""
    every: Annotated[PositiveSeconds, Field(ge=0.1)] | None = None
    """Run at this interval, e.g. `30s`. Give this or `cron`."""
    cron: Annotated[str, AfterValidator(_check_cron)] | None = None
    """Run at these minutes: `minute hour day-of-month month day-of-week`, in UTC, e.g. `"*/5 * * * *"`."""
    jitter: Seconds = 0.0
    """Start each run later by a random time of up to this, so that fleets don't move in step."""
    expires: PositiveSeconds | None = None
    """A run that no worker took for so long is dropped; about one interval where not given."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the task, e.g. `{type: product}`. The type `"*"` stands for every type that is warmed."""
    enabled: bool = True
    """`false` keeps the entry in the file but never runs it."""

    @model_validator(mode="after")
    def _one_of_every_and_cron(self) -> Self:
        if (self.every is None) == (self.cron is None):
            raise ValueError("give exactly one of `every` (e.g. 30s) and `cron` (e.g. '*/5 * * * *')")
        return self

    @model_validator(mode="after")
    def _jitter_within_the_interval(self) -> Self:
        if self.every is not None and self.jitter >= self.every:
            raise ValueError(
                f"a jitter of {self.jitter:g} s needs an interval that is longer: every {self.every:g} s"
            )
        if self.cron is not None and self.jitter >= _SHORTEST_CRON_SECONDS:
            raise ValueError(f"beside `cron` a jitter is shorter than {_SHORTEST_CRON_SECONDS} s")
        return self
