"""The memory store keeps its bounds, its promises and its counts after any sequence of operations."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.core.entries.memory_store import MAX_PASSED, MAX_RENEWALS, MemoryStore

Store = MemoryStore[Any, Any]

keys = st.integers(0, 30)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.integers(0, 60), st.integers(0, 20)),
        st.tuples(st.just("get"), keys),
        st.tuples(st.just("remove"), keys),
        st.tuples(st.just("sweep"), st.integers(1, 8)),
    ),
    max_size=200,
)


def in_queue(store: Store, *, main: bool) -> Iterator[Any]:
    ends = (store._main if main else store._window).ends
    slot = ends.after
    while slot is not ends:
        assert slot.after.before is slot
        yield slot
        slot = slot.after


def check_structure(store: Store) -> None:
    """Both queues hold exactly what the dictionary holds, and all sums are right."""
    window, main = list(in_queue(store, main=False)), list(in_queue(store, main=True))
    assert len(window) + len(main) == len(store.slots) == len(store)
    assert all(store.slots[slot.key] is slot for slot in [*window, *main])
    assert not any(slot.in_main for slot in window)
    assert all(slot.in_main for slot in main)
    for queue, slots in ((store._window, window), (store._main, main)):
        assert queue.length == len(slots)
        assert queue.bytes == sum(slot.weight for slot in slots)
    assert store.bytes == sum(slot.weight for slot in store.slots.values())


@settings(max_examples=300)
@given(st.integers(1, 12), st.integers(1, 100), operations)
def test_bounds_contents_and_counts_hold(entries: int, max_bytes: int, steps: list[Any]) -> None:
    store: Store = MemoryStore(entries, max_bytes)
    latest: dict[int, tuple[int, int]] = {}
    expired: dict[int, float] = {}
    for now, (name, *arguments) in enumerate(steps):
        if name == "put":
            key, weight, ttl = arguments
            latest[key], expired[key] = (now, weight), now + ttl
            kept = store.put(key, latest[key], weight, now + ttl, now)
            assert kept is (weight <= max_bytes)
            assert store.peek(key) == (latest[key] if kept else None)  # the newest is always there
        elif name == "get":
            assert store.get(*arguments) in (None, latest.get(arguments[0]))
        elif name == "remove":
            store.remove(*arguments)
            assert arguments[0] not in store
        else:
            store.sweep(now, *arguments)
        assert len(store) <= entries
        assert store.bytes <= max_bytes
        check_structure(store)
        assert all(store.peek(key) == latest[key] for key in store.slots)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 40)), max_size=100))
def test_what_came_is_there_or_was_counted_as_gone(puts: list[tuple[int, int]]) -> None:
    store: Store = MemoryStore(10, 100)
    new = 0
    for key, weight in puts:
        new += key not in store
        store.put(key, key, weight)
    assert new == len(store) + store.evictions


def test_an_item_larger_than_the_store_is_refused_and_what_the_key_had_is_gone() -> None:
    store: Store = MemoryStore(10, 100)
    assert store.put("a", 1, 100)
    assert not store.put("a", 2, 101)
    assert "a" not in store
    assert (store.rejections, store.evictions, store.bytes) == (1, 0, 0)


def test_an_item_that_fills_the_store_drives_all_others_out() -> None:
    store: Store = MemoryStore(10, 100)
    for key in range(5):
        store.put(key, key, 10)
        store.get(key)
    assert store.put("large", 1, 100)
    assert list(store.slots) == ["large"]
    assert store.evictions == 5


def test_an_overwrite_that_grows_is_kept_and_others_make_room() -> None:
    store: Store = MemoryStore(10, 100)
    for key in range(10):
        store.put(key, key, 10)
    assert store.put(0, "more", 60)
    assert store.peek(0) == "more"
    assert store.bytes <= 100
    check_structure(store)


@pytest.mark.parametrize("hits", [0, 3])
@pytest.mark.parametrize("expiring", [0, 99])
def test_what_has_expired_makes_room_first(expiring: int, hits: int) -> None:
    """At the head of the main queue, or of the window; however often it was asked for."""
    store: Store = MemoryStore(100, 100)
    for key in range(100):
        store.put(key, key, 1)
    oldest = store._window.ends.after.key
    expiring = oldest if expiring else expiring
    for slot in store.slots.values():
        slot.visits = hits
    store.expire_at(expiring, 5.0)
    store.put("new", 1, 1, now=6.0)
    assert expiring not in store
    assert (store.expirations, store.evictions) == (1, 0)


def test_sweeps_go_through_everything_in_bounded_steps() -> None:
    store: Store = MemoryStore(1000, 1000)
    for key in range(1000):
        store.put(key, key, 1, expires=float(key), now=-1.0)
        if key % 3 == 0:
            store.get(key)
    dropped = [store.sweep(499.0, budget=50) for _ in range(21)]  # two steps more for the queues' ends
    assert max(dropped) <= 50
    assert sum(dropped) == store.expirations == 500
    assert sorted(store.slots) == list(range(500, 1000))


def test_a_sweep_survives_that_its_next_entry_leaves() -> None:
    store: Store = MemoryStore(100, 100)
    for key in range(50):
        store.put(key, key, 1, expires=1.0)
    for _ in range(30):
        store.sweep(0.0, budget=1)
        if hasattr(store._hand, "key"):  # not the end of a queue
            store.remove(store._hand.key)
        check_structure(store)
    left = len(store)
    assert 0 < left < 50
    assert store.sweep(2.0, budget=1000) == left
    assert len(store) == 0


def test_an_entry_can_be_given_another_time() -> None:
    store: Store = MemoryStore(10, 10)
    store.put("a", 1, 1, expires=5.0)
    assert store.expire_at("a", 50.0)
    assert not store.expire_at("b", 50.0)
    assert store.sweep(10.0) == 0
    assert store.sweep(50.0) == 1


def test_removed_entries_are_freed_at_once() -> None:
    class Value:
        pass

    store: Store = MemoryStore(10, 10)
    value = Value()
    watched = weakref.ref(value)
    gc.disable()
    try:
        store.put("a", value, 1)
        store.put("b", None, 1)
        del value
        store.remove("a")
        assert watched() is None
    finally:
        gc.enable()


def test_one_put_looks_at_few_entries() -> None:
    """However many entries are in use: nothing walks through all of them."""
    store: Store = MemoryStore(1000, 10**9)
    for key in range(1000):
        store.put(key, key, 1)
    for slot in store.slots.values():
        slot.visits = 5
    for key in range(1000, 1100):
        before = {slot.key: slot.visits for slot in store.slots.values()}
        store.put(key, key, 1)
        changed = sum(slot.visits != before.get(slot.key, 0) for slot in store.slots.values())
        assert changed <= 2 * (MAX_PASSED + MAX_RENEWALS)


@pytest.mark.parametrize(("entries", "max_bytes"), [(0, 1), (1, 0)])
def test_a_store_has_room_for_something(entries: int, max_bytes: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        MemoryStore(entries, max_bytes)
