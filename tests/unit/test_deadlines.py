"""What ends first is dropped first, without a look at all that is kept."""

from __future__ import annotations

import time

from stoker.core.deadlines import Deadlines
from stoker.core.maintenance.tallies import MAX_LOCAL, LocalTallies


def test_for_one_name_too_many_the_one_that_ends_first_goes() -> None:
    known = Deadlines(bound=2)
    assert known.put(("t", "late"), 9) is None
    assert known.put(("t", "soon"), 1) is None
    assert known.put(("t", "new"), 5) == ("t", "soon")
    assert [known.of(("t", key)) for key in ("late", "soon", "new")] == [9, None, 5]


def test_an_end_that_was_moved_counts_as_it_is_now() -> None:
    known = Deadlines(bound=2)
    known.put(("t", "moved"), 1)
    known.put(("t", "other"), 5)
    assert known.put(("t", "moved"), 9) is None
    assert known.put(("t", "new"), 7) == ("t", "other")
    known.remove(("t", "new"))
    assert known.put(("t", "newer"), 3) is None
    assert len(known) == 2


def test_moving_ends_for_ever_takes_no_more_room() -> None:
    known = Deadlines(bound=10)
    for n in range(10_000):
        known.put(("t", str(n % 10)), n)
    assert len(known) == 10
    assert len(known._first) <= 20  # pyright: ignore[reportPrivateUsage]
    assert known.put(("t", "new"), 20_000) == ("t", "0")


async def test_new_counters_beside_many_that_live_cost_no_more() -> None:
    tallies = LocalTallies()
    for n in range(MAX_LOCAL):
        await tallies.add("t", f"old{n}", 1, 3_600_000 + n)
    began = time.perf_counter()
    for n in range(1_000):
        assert await tallies.add("t", f"new{n}", 1, 7_200_000) == 1
    assert time.perf_counter() - began < 5, "each looked at all that there are"
    assert await tallies.read("t", "old999") is None
    assert await tallies.read("t", "old1000") == 1
    assert await tallies.read("t", "new0") == 1
