"""How old a load is, told from its position on the log alone."""

from __future__ import annotations

from stoker.core.log import ages
from stoker.core.log.ages import Ages

NEVER = float("-inf")


def test_a_load_is_as_young_as_the_last_look_that_brought_nothing_new() -> None:
    known = Ages()
    known.restart(10)
    assert known.since(10, 100.0) == 100.0
    known.note(12, 100.0)  # up to 12 came with the answer after the one asked for at 100
    assert known.since(10, 105.0) == 100.0, "11 or 12 may have come right after"
    assert known.since(11, 105.0) == 100.0
    assert known.since(12, 105.0) == 105.0
    known.note(15, 105.0)
    assert [known.since(born, 110.0) for born in (10, 12, 14, 15)] == [100.0, 105.0, 105.0, 110.0]


def test_what_began_before_the_log_was_looked_at_anew_is_of_any_age() -> None:
    known = Ages()
    known.note(12, 100.0)
    known.restart(20)
    assert known.since(12, 105.0) == NEVER
    assert known.since(20, 105.0) == 105.0


def test_only_the_newest_readings_are_kept() -> None:
    known = Ages()
    for position in range(1, ages.MOST + 2):
        known.note(position, float(position))
    assert known.since(1, 0.0) == NEVER
    assert known.since(ages.MOST, 0.0) == float(ages.MOST + 1)
