"""The schedule as a whole: its form, the default, `"*"`, what is checked, and what beat makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.beat import ScheduleEntry as CeleryEntry
from pydantic import ValidationError

from stoker.core.settings.policy import BUILTIN_TYPES, Policy
from stoker.schedules.beat import BeatTimetable, beat_schedule, task_arguments
from stoker.schedules.check import Problem, check
from stoker.schedules.model import ScheduleEntry
from stoker.schedules.plan import default_entries, expires_seconds, plan
from stoker.schedules.timetable import timetable


@dataclass
class Config:
    """As much of a configuration as the schedule reads."""

    schedule: Mapping[str, ScheduleEntry] = field(default_factory=dict[str, ScheduleEntry])
    types: Mapping[str, Policy] = field(
        default_factory=lambda: {name: Policy(**given) for name, given in BUILTIN_TYPES.items()}
    )
    prefix: str = "stoker"


def entry(task: str = "cleanup_metrics", **given: Any) -> ScheduleEntry:
    return ScheduleEntry.model_validate({"task": task, **given})


def schedule(**entries: ScheduleEntry) -> Config:
    return Config(schedule=entries)


class TestForm:
    def test_durations_are_read_as_texts(self) -> None:
        read = entry(every="1m 30s", jitter="250ms", expires="2m")
        assert (read.every, read.jitter, read.expires) == (90, 0.25, 120)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({}, "exactly one of `every`"),
            ({"every": 5, "cron": "* * * * *"}, "exactly one of `every`"),
            ({"every": "5s", "jitter": "5s"}, "needs an interval that is longer"),
            ({"cron": "* * * * *", "jitter": "1m"}, "shorter than 60 s"),
            ({"cron": "61 * * * *"}, "minute: 61 is not within 0-59"),
            ({"every": 0}, "greater than"),
            ({"every": 0.0000001}, "greater than or equal to 0.1"),
            ({"every": "soon"}, "a duration is a number of seconds or like"),
            ({"every": 5, "task": "swep"}, "'warm', 'cleanup_metrics'"),
            ({"every": 5, "evry": 5}, "not permitted"),
        ],
    )
    def test_what_is_refused(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError) as raised:
            ScheduleEntry.model_validate({"task": "cleanup_metrics", **given})
        assert message in str(raised.value)

    def test_a_run_that_no_worker_took_is_dropped_before_the_next(self) -> None:
        assert expires_seconds(entry(every=10)) == 9
        assert expires_seconds(entry(cron="* * * * *")) == 55
        assert expires_seconds(entry(every=10, expires=20)) == 20


class TestPlan:
    def test_the_default_warms_every_type_whose_policy_says_so(self) -> None:
        planned = plan(Config())
        warmed = {each.options["type"] for each in planned.values() if each.task == "warm"}
        assert warmed == {"llm_response", "stt_transcription", "tts_synthesis", "db_query"}
        assert planned["warm:db_query"].every == 5
        assert {"cleanup_metrics", "compute_hit_rates"} < planned.keys()

    def test_a_type_with_an_entry_of_its_own_is_left_out_of_the_star(self) -> None:
        planned = plan(schedule(often=entry("warm", every=1, options={"type": "db_query"})))
        assert "warm:db_query" not in planned
        assert planned["often"].every == 1

    def test_a_type_whose_own_entry_is_off_is_not_warmed(self) -> None:
        planned = plan(schedule(off=entry("warm", every=1, options={"type": "db_query"}, enabled=False)))
        assert "warm:db_query" not in planned
        assert "off" not in planned

    def test_an_entry_replaces_the_default_of_its_name_and_may_turn_it_off(self) -> None:
        planned = plan(schedule(warm=entry("warm", every=9, options={"type": "*", "limit": 7})))
        assert planned["warm:db_query"].options == {"type": "db_query", "limit": 7}
        assert not any("warm" in name for name in plan(schedule(warm=entry("warm", every=9, enabled=False))))


class TestCheck:
    def test_the_default_has_no_problem(self) -> None:
        assert check(Config()) == []
        assert all(problem_free.enabled for problem_free in default_entries().values())

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (entry("warm", every=5), "options.type is missing"),
            (entry("warm", every=5, options={"type": "db_qury"}), "did you mean 'db_query'?"),
            (entry("warm", every=5, options={"type": "zzz"}), "there are db_query, llm_response"),
            (entry("warm", every=5, options={"type": "session"}), "warming is off for 'session'"),
            (entry("warm", every=5, options={"type": "*", "limit": 0}), "options.limit: "),
            (entry("warm", every=5, options={"type": "*", "limt": 5}), "options.limt: "),
            (entry("cleanup_metrics", every=5, options={"a": 1}), "cleanup_metrics takes none"),
            (entry("compute_hit_rates", every=5, options={"window": 1}), "there is only `windows`"),
            (entry("compute_hit_rates", every=5, options={"windows": ["x"]}), "options.windows.0: "),
            (entry("invalidate", every=5), "options.scopes is missing"),
            (entry("invalidate", every=5, options={"scopes": [{"typ": "x"}]}), "options.scopes: "),
            (
                entry("invalidate", every=5, options={"scopes": [{"type": "x"}]}),
                "no cache type is called 'x'",
            ),
            (
                entry("invalidate", every=5, options={"scopes": [{"tag": "a"}], "wy": 1}),
                "`scopes` and `reason`",
            ),
        ],
    )
    def test_an_error_names_the_option(self, given: ScheduleEntry, message: str) -> None:
        problems = check(schedule(x=given))
        assert [(problem.entry, problem.severity) for problem in problems] == [("x", "error")]
        assert message in problems[0].message

    def test_runs_that_outlive_two_intervals_are_warned_of(self) -> None:
        (problem,) = check(schedule(x=entry(every=5, expires=11)))
        assert problem == Problem("x", "warning", problem.message)
        assert "old runs pile up" in problem.message


class TestBeat:
    def test_each_entry_as_celery_has_it(self) -> None:
        made = beat_schedule(Config())["warm:db_query"]
        assert made["task"] == "stoker.warm"
        assert made["kwargs"] == {"cache_type": "db_query"}
        assert made["options"] == {"expires": 4.5}
        celery_entry = CeleryEntry(name="warm:db_query", app=Celery("test", set_as_current=False), **made)
        assert celery_entry.schedule is made["schedule"]

    def test_options_become_arguments_with_lengths_in_seconds(self) -> None:
        often = entry("warm", every=9, options={"type": "db_query", "seconds": "1m"})
        rates = entry("compute_hit_rates", every=9, options={"windows": ["1m", 300]})
        assert task_arguments(often) == {"cache_type": "db_query", "seconds": 60}
        assert task_arguments(rates) == {"windows": [60, 300]}

    def test_it_is_due_once_a_slot_and_never_early(self) -> None:
        start = datetime(2025, 6, 11, 12, 0, 1, tzinfo=UTC)
        now = start
        times = BeatTimetable(timetable(entry(every=10)), clock=lambda: now)
        assert times.is_due(start) == (False, 9)
        assert times.remaining_estimate(start) == timedelta(seconds=9)
        now = start + timedelta(seconds=9)
        assert times.is_due(start) == (True, 10)
        assert times.is_due(now) == (False, 10)

    def test_missed_runs_are_made_up_for_once(self) -> None:
        now = datetime(2025, 6, 11, 12, 0, 3, tzinfo=UTC)
        times = BeatTimetable(timetable(entry(every=10)), clock=lambda: now)
        assert times.is_due(now - timedelta(hours=5)) == (True, 7)

    def test_a_last_run_in_the_future_stalls_nothing(self) -> None:
        now = datetime(2025, 6, 11, 12, 0, 3, tzinfo=UTC)
        times = BeatTimetable(timetable(entry(every=10)), clock=lambda: now)
        assert times.is_due(now + timedelta(hours=5)) == (False, 7)

    def test_equal_timetables_are_equal_entries(self) -> None:
        first, second, other = (BeatTimetable(timetable(entry(every=every), "a")) for every in (10, 10, 20))
        assert first == second != other
        assert len({first, second, other}) == 2
        assert first != "every 10 s"
        assert repr(other) == "<every 20 s>"
