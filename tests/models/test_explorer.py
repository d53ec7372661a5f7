"""The explorer finds what there is to find, by the shortest way, and says when it was cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from tests.models.explorer import STUCK, Model, Rule, Step, explore, put


class Counter(Model[int]):
    """Counts by one or two up to a bound; at some number it breaks a promise."""

    rules: ClassVar[tuple[Rule, ...]] = (Rule("promise", "broken", "", "", ""),)

    def __init__(self, without: str | None = None, *, up_to: int = 10, broken_at: int = -1) -> None:
        super().__init__(without)
        self._up_to, self._broken_at = up_to, broken_at

    def start(self) -> int:
        return 0

    def steps(self, state: int) -> Iterator[Step[int]]:
        for add in (1, 2):
            if state + add <= self._up_to:
                broken = state + add == self._broken_at
                yield f"+{add}", state + add, "broken" if broken else None


class Maze(Counter):
    """Ends only in even numbers, and odd ones have no way out once they are beyond 3."""

    must_end: ClassVar[bool] = True

    def __init__(self, *, way_out: bool) -> None:
        super().__init__()
        self._way_out = way_out

    def steps(self, state: int) -> Iterator[Step[int]]:
        if state % 2 == 0 and state < 4:
            yield "+2", state + 2, None
            yield "+1", state + 1, None
        elif state == 3:
            yield "round", 5, None
        elif state == 5:
            yield "round", 3, None
            if self._way_out:
                yield "out", 4, None
        elif state == 1:
            yield "back", 0, None

    def finished(self, state: int) -> bool:
        return state == 4


def test_all_states_are_reached() -> None:
    outcome = explore(Counter())
    assert (outcome.states, outcome.violation, outcome.cut) == (11, None, False)
    assert str(outcome) == "holds in all of 11 states"


def test_a_violation_comes_with_its_shortest_trace() -> None:
    outcome = explore(Counter(broken_at=6))
    assert (outcome.violation, outcome.trace) == ("broken", ("+2", "+2", "+2"))
    assert str(outcome).startswith("broken: +2 > +2 > +2  (")


def test_a_model_that_runs_away_is_cut() -> None:
    outcome = explore(Counter(up_to=10**9), limit=100)
    assert outcome.cut
    assert outcome.violation is None
    assert str(outcome).startswith("cut at ")


def test_going_round_for_ever_is_being_stuck() -> None:
    outcome = explore(Maze(way_out=False))
    assert (outcome.violation, outcome.trace) == (STUCK, ("+2", "+1"))


def test_what_can_still_end_is_not_stuck() -> None:
    assert explore(Maze(way_out=True)).violation is None


def test_only_known_rules_can_be_taken_away() -> None:
    with pytest.raises(ValueError, match="has no rule 'manners'"):
        Counter("manners")


def test_put_replaces_one_item() -> None:
    assert put((1, 2, 3), 1, 9) == (1, 9, 3)
