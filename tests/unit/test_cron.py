"""Cron lines: what they mean, and how the ones that can't be meant are refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from celery import Celery
from celery.schedules import crontab
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.schedules.cron import FIELDS, parse_cron

NOON = datetime(2025, 6, 11, 12, 0, tzinfo=UTC)  # a Wednesday


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("*/5 * * * *", datetime(2025, 6, 11, 12, 5, tzinfo=UTC)),
        ("0 * * * *", datetime(2025, 6, 11, 13, 0, tzinfo=UTC)),
        ("30 4 * * *", datetime(2025, 6, 12, 4, 30, tzinfo=UTC)),
        ("0 0 1 * *", datetime(2025, 7, 1, tzinfo=UTC)),
        ("0 9-17/4 * * mon-fri", datetime(2025, 6, 11, 13, 0, tzinfo=UTC)),
        ("15,45 3 * jan,JUL *", datetime(2025, 7, 1, 3, 15, tzinfo=UTC)),
        ("0 0 * * 7", datetime(2025, 6, 15, tzinfo=UTC)),
        ("0 0 * * sun", datetime(2025, 6, 15, tzinfo=UTC)),
        ("0 0 * * */2", datetime(2025, 6, 12, tzinfo=UTC)),
        ("0 0 29 2 *", datetime(2028, 2, 29, tzinfo=UTC)),
        ("0 0 31 feb,mar *", datetime(2026, 3, 31, tzinfo=UTC)),
    ],
)
def test_next_time(line: str, expected: datetime) -> None:
    assert parse_cron(line).after(NOON) == expected


def test_a_leap_day_is_found_across_a_century_without_one() -> None:
    assert parse_cron("0 0 29 2 *").after(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(
        2104, 2, 29, tzinfo=UTC
    )


def test_other_zones_are_read_as_utc() -> None:
    berlin = timezone(timedelta(hours=2))
    assert parse_cron("0 12 * * *").after(datetime(2025, 6, 11, 13, 30, tzinfo=berlin)) == NOON


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("* * * *", "has 5 fields (minute hour day month weekday), not 4"),
        ("@hourly", "write the five fields out"),
        ("60 * * * *", "minute: 60 is not within 0-59"),
        ("* 24 * * *", "hour: 24 is not within 0-23"),
        ("* * 0 * *", "day-of-month: 0 is not within 1-31"),
        ("* * * 13 *", "month: 13 is not within 1-12"),
        ("* * * * 8", "day-of-week: 8 is not within 0-7"),
        ("* * * foo *", "month: 'foo' is no number or one of jan, feb"),
        ("*/0 * * * *", "the step of '*/0' is not within 1-59"),
        ("*/60 * * * *", "the step of '*/60' is not within 1-59"),
        ("5/15 * * * *", "steps from a single value: write a-b/n"),
        ("30-10 * * * *", "minute: '30-10' runs backwards"),
        ("1,,2 * * * *", "minute: '' is none of"),
        ("-1 * * * *", "minute: '-1' is none of"),
        ("1.5 * * * *", "minute: '1.5' is none of"),
        ("? * * * *", "minute: '?' is none of"),
        ("0 0 13 * fri", "both restricted"),
        ("0 0 31 2,4,6 *", "no month of '2,4,6' has a day 31, so it would never run"),
        ("", "not 0"),
    ],
)
def test_refused_with_the_field_and_the_reason(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_cron(line)


def _field(index: int) -> st.SearchStrategy[str]:
    low, high = FIELDS[index].low, min(FIELDS[index].high, 6) if index == 4 else FIELDS[index].high
    numbers = st.integers(low, high)
    ranges = st.tuples(numbers, numbers).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.integers(1, high - low).map(lambda step: f"*/{step}")
    return st.one_of(st.just("*"), numbers.map(str), ranges, steps)


@settings(max_examples=150, deadline=None)
@given(
    minute=_field(0),
    hour=_field(1),
    weekday=_field(4),
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_agrees_with_celerys_own(minute: str, hour: str, weekday: str, moment: datetime) -> None:
    app = Celery("test", set_as_current=False)
    theirs = crontab(minute=minute, hour=hour, day_of_week=weekday, app=app)
    last, delta, _ = theirs.remaining_delta(moment)
    assert parse_cron(f"{minute} {hour} * * {weekday}").after(moment) == last + delta
