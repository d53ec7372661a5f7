"""The replay's arithmetic: it must find what is stale, and only that."""

from __future__ import annotations

from array import array

from examples.shop.report import Tally, build, quantile
from examples.shop.truth import Truth


def judged(truth: Truth) -> tuple[int, int, int]:
    truth.settle(float("inf"))
    verdicts = truth.verdicts
    return verdicts.judged, verdicts.stale_after_applied, verdicts.stale_before_applied


def test_an_older_version_after_the_record_was_seen_is_stale() -> None:
    truth = Truth()
    truth.wrote("e1", 42, 2, at=1.0)
    truth.recorded("e1", at=2.0)
    truth.read(42, 1, began=3.0)

    assert judged(truth) == (1, 1, 0)
    assert truth.verdicts.examples == ["product 42: version 1, 2 was applied"]


def test_a_read_that_began_before_the_record_was_seen_may_be_outdated() -> None:
    truth = Truth()
    truth.wrote("e1", 42, 2, at=1.0)
    truth.recorded("e1", at=2.0)
    truth.read(42, 1, began=0.5)
    truth.read(42, 1, began=1.5)

    assert judged(truth) == (2, 0, 1)


def test_the_written_version_and_later_ones_are_right() -> None:
    truth = Truth()
    truth.wrote("e1", 42, 2, at=1.0)
    truth.recorded("e1", at=2.0)
    truth.read(42, 2, began=3.0)
    truth.read(42, 3, began=3.0)
    truth.read(7, 1, began=3.0)

    assert judged(truth) == (3, 0, 0)


def test_a_record_that_is_seen_before_the_reply_counts_from_when_it_was_seen() -> None:
    truth = Truth()
    assert not truth.recorded("e1", at=1.0)
    truth.read(42, 1, began=1.5)
    assert truth.awaits_reply("e1")
    truth.wrote("e1", 42, 2, at=2.0)

    assert not truth.awaits_reply("e1")
    assert judged(truth) == (1, 1, 0)


def test_the_highest_applied_version_counts_when_records_overtake_each_other() -> None:
    truth = Truth()
    truth.wrote("e3", 42, 3, at=1.0)
    truth.wrote("e2", 42, 2, at=1.1)
    truth.recorded("e3", at=2.0)
    truth.recorded("e2", at=2.1)
    truth.read(42, 2, began=3.0)

    assert judged(truth) == (1, 1, 0)


def test_what_was_judged_is_forgotten_but_not_what_it_was_judged_by() -> None:
    truth = Truth()
    for version in range(2, 100):
        truth.wrote(f"e{version}", 42, version, at=float(version))
        truth.recorded(f"e{version}", at=version + 0.5)
    truth.read(42, 1, began=50.0)
    truth.settle(60.0)
    truth.read(42, 98, began=200.0)

    assert judged(truth) == (2, 2, 0)


def test_a_write_without_a_record_stays_open() -> None:
    truth = Truth()
    truth.wrote("e1", 42, 2, at=1.0)

    assert truth.unrecorded() == 1
    truth.recorded("e1", at=2.0)
    assert truth.unrecorded() == 0


def test_misses_are_cold_then_expired() -> None:
    truth = Truth()

    assert truth.miss(42, began=1.0, ended=1.0 + 0.1, missed=True) == "cold"
    assert truth.miss(42, began=2.0, ended=2.0 + 0.1, missed=False) is None
    assert truth.miss(42, began=3.0, ended=3.0 + 0.1, missed=True) == "expired"


def test_a_miss_after_a_write_is_the_writes_doing_once() -> None:
    truth = Truth()
    truth.miss(42, began=1.0, ended=1.0 + 0.1, missed=True)
    truth.writing(42)
    assert truth.miss(42, began=1.5, ended=1.5 + 0.1, missed=True) == "invalidated"
    truth.wrote("e1", 42, 2, at=2.0)
    truth.recorded("e1", at=3.0)

    assert truth.miss(42, began=4.0, ended=4.0 + 0.1, missed=True) == "invalidated"
    assert truth.miss(42, began=5.0, ended=5.0 + 0.1, missed=True) == "expired"


def test_a_write_during_the_first_read_of_a_product_is_to_blame_for_the_next_miss() -> None:
    truth = Truth()
    truth.writing(7)
    assert truth.miss(7, began=0.0, ended=1.0, missed=True) == "cold"

    assert truth.miss(7, began=1.5, ended=2.0, missed=True) == "invalidated"


def test_a_hit_after_the_invalidation_was_applied_ends_its_blame() -> None:
    truth = Truth()
    truth.miss(42, began=1.0, ended=1.0 + 0.1, missed=True)
    truth.writing(42)
    truth.wrote("e1", 42, 2, at=2.0)
    truth.recorded("e1", at=3.0)

    assert truth.miss(42, began=4.0, ended=4.0 + 0.1, missed=False) is None
    assert truth.miss(42, began=5.0, ended=5.0 + 0.1, missed=True) == "expired"


def test_who_waits_for_anothers_load_misses_for_the_same_reason() -> None:
    truth = Truth()
    assert truth.miss(42, began=1.0, ended=1.5, missed=True) == "cold"
    assert truth.miss(42, began=1.4, ended=1.6, missed=True) == "cold"
    truth.writing(42)
    truth.wrote("e1", 42, 2, at=2.0)
    truth.recorded("e1", at=3.0)

    assert truth.miss(42, began=4.0, ended=4.5, missed=True) == "invalidated"
    assert truth.miss(42, began=4.4, ended=4.6, missed=True) == "invalidated"
    assert truth.miss(42, began=4.7, ended=4.8, missed=True) == "expired"


def test_while_one_of_two_writes_is_open_the_blame_stays() -> None:
    truth = Truth()
    truth.miss(42, began=1.0, ended=1.0 + 0.1, missed=True)
    truth.writing(42)
    truth.wrote("e1", 42, 2, at=2.0)
    truth.writing(42)
    truth.wrote("e2", 42, 3, at=2.1)
    truth.recorded("e1", at=3.0)

    assert truth.miss(42, began=4.0, ended=4.0 + 0.1, missed=True) == "invalidated"
    assert truth.miss(42, began=5.0, ended=5.0 + 0.1, missed=True) == "invalidated"


def test_unanswered_time_is_between_answers_with_failures_in_between() -> None:
    tally = Tally()
    tally.answered(1.0)
    tally.answered(3.0)
    tally.failed("refused")
    tally.answered(4.5)

    assert tally.longest_gap_seconds == 2.0
    assert tally.unanswered_seconds == 1.5


def test_quantiles_are_values_that_were_measured() -> None:
    values = array("d", [4.0, 1.0, 3.0, 2.0])

    assert [quantile(values, share) for share in (0.0, 0.25, 0.5, 0.99, 1.0)] == [1.0, 1.0, 2.0, 4.0, 4.0]
    assert quantile([], 0.5) is None


def test_a_report_of_nothing_has_no_rates() -> None:
    report = build(Tally(), Truth(), None, seconds=0.0)

    assert report["hit_rate"] is None
    assert report["read_ms"] == {"p50": None, "p99": None, "max": None}
