"""The memory store keeps what will be asked for again, whatever else passes through."""

from __future__ import annotations

import lzma
import os
import random
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from stoker.core.entries.ghosts import Ghosts, distance
from stoker.core.entries.memory_store import LARGEST_SHARE, LEAST_SHARE, MemoryStore

#: A folder of request traces: xz, then one little-endian int32 a request.
TRACES = os.environ.get("STOKER_TEST_TRACES")


def zipf(count: int, keys: int, exponent: float = 0.9, seed: int = 1) -> list[int]:
    weights = list(accumulate(1 / rank**exponent for rank in range(1, keys + 1)))
    return random.Random(seed).choices(range(keys), cum_weights=weights, k=count)


def with_scans(requests: Sequence[int], every: int, length: int) -> list[int]:
    """After so many requests each, so many keys that nobody asks for again."""
    mixed: list[int] = []
    fresh = 10**6
    for start in range(0, len(requests), every):
        mixed += requests[start : start + every]
        mixed += range(fresh, fresh + length)
        fresh += length
    return mixed


def hit_ratio(requests: Sequence[Any], entries: int, store: MemoryStore[Any, Any] | None = None) -> float:
    store = MemoryStore(entries, 10**12) if store is None else store
    hits = 0
    for key in requests:
        if store.get(key) is not None:
            hits += 1
        else:
            store.put(key, key or "zero", 1)
    return hits / len(requests)


def lru_hit_ratio(requests: Iterable[Any], entries: int) -> float:
    held: OrderedDict[Any, None] = OrderedDict()
    hits = count = 0
    for key in requests:
        count += 1
        if key in held:
            hits += 1
            held.move_to_end(key)
        else:
            held[key] = None
            if len(held) > entries:
                held.popitem(last=False)
    return hits / count


def test_scans_leave_what_is_asked_for_again() -> None:
    requests = with_scans(zipf(60_000, 5_000), every=6_000, length=3_000)
    ours, lru = hit_ratio(requests, 500), lru_hit_ratio(requests, 500)
    assert ours > lru + 0.05


def test_popular_keys_stay_where_popularity_is_steady() -> None:
    requests = zipf(100_000, 10_000)
    ideal = sum(1 for key in requests if key < 500) / len(requests)
    assert hit_ratio(requests, 500) > ideal - 0.06
    assert lru_hit_ratio(requests, 500) < ideal - 0.12


def test_a_loop_over_more_than_fits_is_served_in_part() -> None:
    requests = list(range(3_000)) * 10
    assert lru_hit_ratio(requests, 1_000) == 0
    assert hit_ratio(requests, 1_000) > 0.25


def test_new_favourites_drive_out_old_ones() -> None:
    store: MemoryStore[Any, Any] = MemoryStore(500, 10**12)
    hit_ratio(zipf(50_000, 2_000), 500, store)
    others = [key + 5_000 for key in zipf(50_000, 2_000, seed=2)]
    hit_ratio(others, 500, store)
    assert hit_ratio(others[:5_000], 500, store) > 0.55


def test_the_window_grows_for_what_is_asked_for_again_soon_only() -> None:
    """Each key is asked for a few times at short distance, and never again: recency is all there is."""
    chance = random.Random(3)
    requests = [turn // 3 - int(chance.expovariate(1 / 250)) for turn in range(60_000)]
    store: MemoryStore[Any, Any] = MemoryStore(500, 10**12)
    ratio = hit_ratio(requests, 500, store)
    assert store.share > 0.2
    assert ratio > lru_hit_ratio(requests, 500) - 0.02


def test_the_window_shrinks_where_popularity_is_steady() -> None:
    store: MemoryStore[Any, Any] = MemoryStore(500, 10**12)
    store.share = 0.5
    hit_ratio(zipf(60_000, 5_000), 500, store)
    assert LEAST_SHARE <= store.share < 0.25


def test_the_share_stays_within_its_limits() -> None:
    for seed in range(5):
        chance = random.Random(seed)
        store: MemoryStore[Any, Any] = MemoryStore(chance.randint(1, 40), chance.randint(1, 400))
        for _ in range(5_000):
            key = chance.randint(0, 60)
            if store.get(key) is None:
                store.put(key, "x", chance.randint(0, 30))
            assert LEAST_SHARE <= store.share <= LARGEST_SHARE


def test_large_items_of_a_scan_leave_the_small_ones() -> None:
    store: MemoryStore[Any, Any] = MemoryStore(10_000, 1_000_000)
    popular = zipf(40_000, 1_000)
    for key in popular:
        if store.get(key) is None:
            store.put(key, "x", 1_000)
    before = len(store)
    for key in range(10_000, 10_200):
        store.put(key, "large", 20_000)
    assert len(store) > before - 90


@pytest.mark.skipif(TRACES is None, reason="STOKER_TEST_TRACES names no folder of request traces")
@pytest.mark.parametrize("entries", [500, 1_000, 5_000])
def test_a_real_trace_is_served_better_than_by_the_least_recently_used(entries: int) -> None:
    path = Path(TRACES or "") / "web07.trace.xz"
    requests = array("i", lzma.decompress(path.read_bytes())).tolist()
    assert hit_ratio(requests, entries) > lru_hit_ratio(requests, entries) + 0.008


def test_ghosts_tell_once_what_was_noted() -> None:
    ghosts = Ghosts(10)
    ghosts.bury(("type", "key"), 7, 9)
    assert ghosts.recall(("type", "other")) is None
    assert ghosts.recall(("type", "key")) == (7, 9)
    assert ghosts.recall(("type", "key")) is None


def test_ghosts_of_most_of_the_last_evictions_are_there() -> None:
    ghosts = Ghosts(1_000)
    for number in range(2_000):
        ghosts.bury(number, number, 0)
    found = sum(ghosts.recall(number) == (number, 0) for number in range(2_000))
    assert found > 1_500


def test_distances_survive_that_numbers_outgrow_32_bits() -> None:
    ghosts = Ghosts(1)
    ghosts.bury("a", 2**32 - 5, 2**40 + 1)
    memory = ghosts.recall("a")
    assert memory is not None
    assert distance(2**32 + 5, memory[0]) == 10
    assert distance(2**40 + 4, memory[1]) == 3
