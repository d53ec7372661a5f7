"""How long a child that died waits before it is started again."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from stoker.worker.supervisor import Backoff, ending


def test_each_death_doubles_the_delay_up_to_the_longest() -> None:
    backoff = Backoff(first=0.25, factor=2, longest=3)

    assert [backoff.delay(deaths) for deaths in range(1, 7)] == [0.25, 0.5, 1.0, 2.0, 3, 3]


def test_a_healthy_life_starts_over() -> None:
    backoff = Backoff(healthy=30)

    assert backoff.deaths(before=5, lifetime=29.9) == 6
    assert backoff.deaths(before=5, lifetime=30.0) == 1


@given(st.integers(min_value=1, max_value=10**9))
def test_the_delay_never_leaves_its_bounds(deaths: int) -> None:
    backoff = Backoff()

    assert backoff.first <= backoff.delay(deaths) <= backoff.longest


def test_endings_are_named() -> None:
    assert ending(3) == "exit code 3"
    assert ending(-signal.SIGSEGV) == "killed by SIGSEGV"
    assert ending(-250) == "killed by signal 250"
