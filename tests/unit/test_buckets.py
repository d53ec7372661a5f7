"""Decayed rates: exact for steady traffic, halved by a half-life of silence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.settings.policy import Policy, WarmPolicy
from stoker.core.warming.buckets import MOST_BUCKETS, Buckets, decayed_rates

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("ttl", "half_life", "width"),
    [(1, None, 5), (60, None, 15), (3600, None, 900), (86400, None, 3600), (3600, 60, 15)],
)
def test_a_bucket_is_a_quarter_of_a_half_life_within_bounds(
    ttl: float, half_life: float | None, width: int
) -> None:
    buckets = Buckets.of(Policy(ttl=ttl, warm=WarmPolicy(half_life=half_life)))
    assert buckets.width == width
    assert buckets.half_life == (half_life or ttl)
    assert 2 <= buckets.count <= MOST_BUCKETS
    assert buckets.kept >= buckets.width * buckets.count


@given(st.floats(1, 200_000), st.floats(0, 4e9))
def test_the_buckets_of_a_ranking_reach_from_now_back_without_gaps(ttl: float, at: float) -> None:
    buckets = Buckets.of(Policy(ttl=ttl))
    starts = buckets.starts(at)
    assert starts[0] <= at < starts[0] + buckets.width
    assert [start - buckets.width for start in starts[:-1]] == starts[1:]


@pytest.mark.parametrize("ttl", [20, 60, 600, 86400])
def test_a_steady_rate_is_exact(ttl: float) -> None:
    buckets = Buckets.of(Policy(ttl=ttl))
    counts = {start: {"k": 3.0 * buckets.span(start, NOW)} for start in buckets.starts(NOW)}
    [heat] = decayed_rates(buckets, counts, NOW, 10)
    assert heat.key == "k"
    assert heat.rate == pytest.approx(3.0)


@pytest.mark.parametrize("ttl", [20, 60, 600])
def test_a_steady_key_is_expected_as_often_as_it_was_asked_for(ttl: float) -> None:
    buckets = Buckets.of(Policy(ttl=ttl))
    counts = {start: {"k": 3.0 * buckets.span(start, NOW)} for start in buckets.starts(NOW)}
    [heat] = decayed_rates(buckets, counts, NOW, 10)
    assert heat.expected(ttl, buckets.half_life) == pytest.approx(3.0 * ttl)


@given(st.floats(5, 200_000), st.floats(0, 1))
def test_one_request_promises_no_more_than_one(ttl: float, age: float) -> None:
    buckets = Buckets.of(Policy(ttl=ttl))
    start = buckets.start(NOW - age * buckets.width * (buckets.count - 1))
    [heat] = decayed_rates(buckets, {start: {"k": 1.0}}, NOW, 10)
    assert heat.expected(ttl, buckets.half_life) <= 1.0


def test_a_key_that_nobody_asks_for_any_more_cools() -> None:
    buckets = Buckets.of(Policy(ttl=60))
    starts = buckets.starts(NOW)
    counts = {start: {"steady": 15.0} for start in starts}
    counts[starts[-1]]["former"] = 15.0 * len(starts)
    ranked = {heat.key: heat.rate for heat in decayed_rates(buckets, counts, NOW, 10)}
    assert ranked["former"] < ranked["steady"]


def test_a_first_request_is_no_rate_of_one_a_second() -> None:
    buckets = Buckets.of(Policy(ttl=60))
    now = float(buckets.start(NOW)) + 0.5
    [heat] = decayed_rates(buckets, {buckets.start(now): {"k": 1.0}}, now, 10)
    assert heat.rate <= 1 / buckets.width


def test_the_hottest_come_first_and_equals_by_name() -> None:
    buckets = Buckets.of(Policy(ttl=60))
    counts = {buckets.start(NOW): {"b": 1.0, "c": 5.0, "a": 1.0}}
    assert [heat.key for heat in decayed_rates(buckets, counts, NOW, 3)] == ["c", "a", "b"]
    assert [heat.key for heat in decayed_rates(buckets, counts, NOW, 1)] == ["c"]


def test_without_counts_there_is_no_ranking() -> None:
    buckets = Buckets.of(Policy(ttl=60))
    assert decayed_rates(buckets, {}, NOW, 10) == []
    assert decayed_rates(buckets, {buckets.start(NOW): {}}, NOW, 10) == []
