"""When an entry is due, and how loads are paced: the arithmetic of warming."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.entries.lookup import EntryState, State
from stoker.core.warming.planning import MOST_REASONS, WarmRun, horizon, is_due
from stoker.core.warming.warming import Pacer


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [(None, 25), (5, 25), (20, 30), (10_000, 50)],
    ids=["first run", "frequent runs", "rarer runs", "very rare runs"],
)
def test_the_horizon_covers_the_time_to_the_next_run(interval: float | None, seconds: float) -> None:
    assert horizon(100, 0.25, interval) == seconds


@given(st.floats(0.1, 1e6), st.floats(0.01, 1), st.floats(0, 1e6))
def test_the_horizon_is_never_less_than_the_policy_asks(ttl: float, ahead: float, interval: float) -> None:
    assert ttl * ahead <= horizon(ttl, ahead, interval) <= max(ttl * ahead, ttl / 2)


@pytest.mark.parametrize(
    ("state", "due"),
    [
        (None, True),
        (EntryState(State.DEAD, 90, 100), True),
        (EntryState(State.STALE, -5, 100), True),
        (EntryState(State.FRESH, 24, 100), True),
        (EntryState(State.FRESH, 26, 100), False),
        (EntryState(State.FRESH, 3, 10), False),
    ],
    ids=["gone", "dead", "stale", "about to expire", "fresh", "fresh, by its own shorter TTL"],
)
def test_what_is_due(state: EntryState | None, due: bool) -> None:
    assert is_due(state, 0.25, None) is due


async def test_starts_are_spaced_evenly_without_a_burst() -> None:
    pacer = Pacer(rate=100)
    began = time.monotonic()
    for _ in range(11):
        await pacer.wait()
    assert time.monotonic() - began >= 0.099


def test_reasons_are_bounded() -> None:
    run = WarmRun("1-a", "product", 0.0, "t")
    for number in range(1000):
        run.count(f"Error{number}")
    run.count("Error0")
    assert len(run.reasons) == MOST_REASONS + 1
    assert run.reasons["Error0"] == 2
    assert sum(run.reasons.values()) == 1001
