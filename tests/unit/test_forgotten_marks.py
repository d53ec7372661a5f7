"""Marks for which there is no room: sets are stamped as the oldest of them that still counts."""

from __future__ import annotations

import contextvars
from dataclasses import dataclass

import pytest

from stoker.core import marks
from stoker.core.marks import FORGOTTEN_SECONDS, SPAN_SECONDS, Marks, marks_here

ROOM = 10


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(marks, "time", clock)
    monkeypatch.setattr(marks, "MAX_MARKS", ROOM)
    return clock


def own_marks() -> Marks:
    return contextvars.Context().run(marks_here)


def test_they_count_as_long_as_others_however_many_follow(clock: Clock) -> None:
    mine = own_marks()
    for minute in range(100):
        clock.now = 60.0 * minute
        mine.leave(1, "page", f"k{minute}", 7, minute)
    stamp = mine.take(1, "page", "never missed")
    assert stamp is not None
    counts_from = (clock.now - FORGOTTEN_SECONDS) / 60
    assert counts_from - SPAN_SECONDS / 60 <= stamp[1] <= counts_from
    clock.now += FORGOTTEN_SECONDS + 1
    assert mine.take(1, "page", "never missed") is None


def test_until_then_the_oldest_counts(clock: Clock) -> None:
    mine = own_marks()
    for second in range(3 * ROOM):
        clock.now = 1000.0 + second
        mine.leave(1, "page", f"k{second}", 7, second)
    assert mine.take(1, "page", "k0") == (7, 0)
    assert mine.take(1, "page", f"k{3 * ROOM - 1}") == (7, 3 * ROOM - 1), "for which there is room"
    assert mine.take(2, "page", "k0") is None, "of another cache"
