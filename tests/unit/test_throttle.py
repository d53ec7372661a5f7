"""What is left alone for a while is remembered in bounded memory."""

from __future__ import annotations

from stoker.core.loading.throttle import Throttle


def test_a_name_is_held_until_its_time_is_over_or_it_is_freed() -> None:
    now = 100.0
    held = Throttle(clock=lambda: now)
    held.hold(("t", "a"), 5)
    held.hold(("t", "b"), 5)
    held.free(("t", "b"))
    assert [held.holds(("t", key)) for key in "abc"] == [True, False, False]
    now = 105.0
    assert not held.holds(("t", "a"))
    assert len(held) == 0


def test_when_there_are_too_many_those_go_first_that_are_over_and_then_the_oldest() -> None:
    now = 100.0
    held = Throttle(bound=3, clock=lambda: now)
    held.hold(("t", "a"), 60)
    held.hold(("t", "brief"), 1)
    held.hold(("t", "c"), 60)
    now = 110.0
    held.hold(("t", "d"), 60)
    assert [held.holds(("t", key)) for key in ("a", "c", "d")] == [True, True, True]
    held.hold(("t", "e"), 60)
    assert [held.holds(("t", key)) for key in ("a", "c", "d", "e")] == [False, True, True, True]
