"""Space-Saving keeps its promises on any stream."""

from __future__ import annotations

import array
import lzma
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.warming.sketch import Sketch

#: A folder of request traces: xz, then one little-endian int32 a request.
TRACES = os.environ.get("STOKER_TEST_TRACES")

Batches = list[dict[str, float]]
batches = st.lists(
    st.dictionaries(st.sampled_from("abcdefghijklmno"), st.integers(1, 20).map(float), max_size=8),
    max_size=30,
)


def fill(sketch: Sketch[str], weights: Batches) -> Counter[str]:
    """Feed a sketch and return the true weights."""
    truth: Counter[str] = Counter()
    for batch in weights:
        sketch.update(batch)
        for key, weight in batch.items():
            truth[key] += int(weight)
    return truth


@given(batches, st.integers(1, 10))
def test_counts_are_upper_bounds_and_guaranteed_counts_lower_ones(weights: Batches, counters: int) -> None:
    sketch: Sketch[str] = Sketch(counters)
    truth = fill(sketch, weights)
    assert len(sketch) <= counters
    for item in sketch:
        assert item.count - item.error <= truth[item.key] <= item.count


@given(batches, st.integers(1, 10))
def test_errors_are_bounded_and_heavy_hitters_are_there(weights: Batches, counters: int) -> None:
    sketch: Sketch[str] = Sketch(counters)
    truth = fill(sketch, weights)
    bound = truth.total() / counters
    assert all(item.error <= bound for item in sketch)
    assert all(key in sketch for key, weight in truth.items() if weight > bound)


@given(batches, st.integers(1, 10))
def test_no_counter_is_lost(weights: Batches, counters: int) -> None:
    sketch: Sketch[str] = Sketch(counters)
    truth = fill(sketch, weights)
    assert sum(item.count for item in sketch) == truth.total()
    assert len(sketch) == min(counters, len(truth))


@given(batches, st.integers(1, 10))
def test_the_same_stream_gives_the_same_sketch(weights: Batches, counters: int) -> None:
    one: Sketch[str] = Sketch(counters)
    other: Sketch[str] = Sketch(counters)
    fill(one, weights)
    fill(other, weights)
    assert one.top(counters) == other.top(counters)
    assert one.take(counters) == other.take(counters)


@given(batches, st.integers(1, 10), st.integers(1, 5))
def test_what_is_taken_was_seen(weights: Batches, counters: int, limit: int) -> None:
    sketch: Sketch[str] = Sketch(counters)
    taken: Counter[str] = Counter()
    truth: Counter[str] = Counter()
    for batch in weights:
        truth += fill(sketch, [batch])
        part = sketch.take(limit)
        assert len(part) <= limit
        taken.update({key: int(weight) for key, weight in part.items()})
    assert all(taken[key] <= truth[key] for key in taken)


@given(batches, st.integers(1, 10), st.integers(1, 10))
def test_the_heaviest_reach_the_floor(weights: Batches, counters: int, limit: int) -> None:
    sketch: Sketch[str] = Sketch(counters)
    fill(sketch, weights)
    top = sketch.top(limit)
    assert [item.count for item in top] == sorted((item.count for item in sketch), reverse=True)[:limit]
    assert all(sketch.count(item.key) == item.count >= sketch.floor(limit) for item in top)
    assert sketch.count("never tracked") == 0


def test_without_evictions_all_is_taken_once() -> None:
    sketch: Sketch[str] = Sketch()
    sketch.update({"a": 3.0, "b": 1.0})
    assert sketch.take(1) == {"a": 3.0}
    assert sketch.take(10) == {"b": 1.0}
    assert sketch.take(10) == {}
    sketch.update({"a": 2.0})
    assert sketch.take(10) == {"a": 2.0}


def test_what_could_not_be_delivered_counts_on() -> None:
    sketch: Sketch[str] = Sketch()
    sketch.update({"a": 3.0})
    taken = sketch.take(10)
    sketch.update({"a": 1.0})
    sketch.give_back({**taken, "gone meanwhile": 5.0})
    assert sketch.take(10) == {"a": 4.0}


def test_the_newest_note_is_kept_as_long_as_its_key() -> None:
    sketch: Sketch[str] = Sketch(1)
    sketch.update({"a": 1.0}, {"a": "old"})
    sketch.update({"a": 1.0}, {"a": "new", "never tracked": "x"})
    assert sketch.note("a") == "new"
    sketch.update({"b": 1.0})
    assert sketch.note("a") is None
    assert sketch.note("b") is None


@given(batches, st.integers(1, 10), st.floats(0.1, 1.0))
def test_ageing_keeps_the_order_and_scales_the_bounds(weights: Batches, counters: int, factor: float) -> None:
    sketch: Sketch[str] = Sketch(counters)
    fill(sketch, weights)
    before = {item.key: item for item in sketch}
    sketch.age(factor)
    for item in sketch:
        assert item.count == before[item.key].count * factor
        assert item.error == before[item.key].error * factor
    sketch.update({"new": 1.0})
    assert "new" in sketch


def test_former_hot_keys_make_room() -> None:
    sketch: Sketch[str] = Sketch(2)
    sketch.update({"yesterday": 1000.0, "also": 900.0})
    for _ in range(20):
        sketch.age(0.5)
        sketch.update({"today": 10.0})
    assert sketch.top(1)[0].key == "today"


def test_a_sketch_needs_a_counter() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Sketch(0)


@pytest.mark.parametrize("name", ["web07", "orm-night"])
def test_recall_of_the_top_100_on_real_traffic(name: str) -> None:
    path = Path(TRACES or ".") / f"{name}.trace.xz"
    if TRACES is None or not path.exists():
        pytest.skip(f"needs the request trace {path.name}: set STOKER_TEST_TRACES to its folder")
    with lzma.open(path) as file:
        numbers = array.array("i", file.read(400_000 * 4))
    assert recall([str(number) for number in numbers]) >= 0.95


def test_recall_of_the_top_100_on_flat_traffic() -> None:
    """Zipf 0.7 over 50,000 keys: the hottest gets one request in a hundred."""
    weights = [1 / rank**0.7 for rank in range(1, 50_001)]
    numbers = random.Random(7).choices(range(50_000), weights, k=200_000)
    assert recall([str(number) for number in numbers]) >= 0.95


def recall(keys: list[str]) -> float:
    """The share of the top 100 that four processes find that flush at intervals, as the fleet does it."""
    truth = Counter(keys)
    sketches: list[Sketch[str]] = [Sketch() for _ in range(4)]
    found: Counter[str] = Counter()
    for start in range(0, len(keys), 4_000):
        chunk = keys[start : start + 4_000]
        for number, sketch in enumerate(sketches):
            sketch.update({key: float(count) for key, count in Counter(chunk[number::4]).items()})
            found.update({key: int(count) for key, count in sketch.take(1000).items()})
    threshold = truth.most_common(100)[-1][1]
    return sum(truth[key] >= threshold for key, _ in found.most_common(100)) / 100
