"""When entries run: slots on the clock, a jitter per run that never drifts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st

from stoker.schedules.model import ScheduleEntry
from stoker.schedules.timetable import next_runs, timetable

NOW = datetime(2025, 6, 11, 12, 0, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def entry(**given: object) -> ScheduleEntry:
    return ScheduleEntry.model_validate({"task": "cleanup_metrics", **given})


def seconds(times: list[datetime]) -> list[float]:
    return [(time - NOW.replace(second=0)).total_seconds() for time in times]


def test_an_interval_runs_at_its_multiples_on_the_clock() -> None:
    assert seconds(next_runs(entry(every="30s"), 3, NOW)) == [30, 60, 90]
    assert seconds(next_runs(entry(every="1h"), 2, NOW)) == [3600, 7200]


def test_a_run_at_this_very_moment_is_not_the_next() -> None:
    assert seconds(next_runs(entry(every="1s"), 1, NOW)) == [2]


def test_cron_runs_in_utc() -> None:
    assert seconds(next_runs(entry(cron="*/5 * * * *"), 2, NOW)) == [300, 600]


def test_what_is_turned_off_never_runs() -> None:
    assert next_runs(entry(every="30s", enabled=False), 3, NOW) == []


def test_each_run_has_a_jitter_of_its_own_and_the_slots_do_not_drift() -> None:
    runs = next_runs(entry(every="30s", jitter="10s"), 2000, NOW, name="x")
    delays = [time.timestamp() % 30 for time in runs]
    assert all(0 <= delay < 10 for delay in delays)
    assert len({round(delay, 3) for delay in delays}) > 1500
    assert 4 < sum(delays) / len(delays) < 6


def test_two_beats_come_to_the_same_time_and_two_entries_do_not() -> None:
    jittered = entry(every="30s", jitter="20s")
    first = next_runs(jittered, 5, NOW, name="a")
    assert next_runs(jittered, 5, NOW, name="a") == first
    assert next_runs(jittered, 5, NOW, name="b") != first


@given(moment=MOMENTS, every=st.floats(0.1, 1e6), share=st.floats(0, 0.99))
def test_runs_only_ever_go_forward_one_a_slot(moment: datetime, every: float, share: float) -> None:
    times = timetable(entry(every=every, jitter=every * share), "any")
    runs = list(islice(times.runs_after(moment), 20))
    assert moment < runs[0]
    limit = timedelta(seconds=every * (1 + share)) + timedelta(milliseconds=1)
    assert all(timedelta() < later - earlier <= limit for earlier, later in pairwise([moment, *runs]))


@given(moment=MOMENTS, jitter=st.floats(0, 59))
def test_the_run_after_any_moment_is_in_the_one_sequence(moment: datetime, jitter: float) -> None:
    times = timetable(entry(cron="*/7 * * * *", jitter=jitter), "any")
    whole = list(islice(times.runs_after(moment - timedelta(hours=1)), 30))
    assert times.run_after(moment) == next(run for run in whole if run > moment)
