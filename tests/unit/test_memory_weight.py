"""Values weigh what they take."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import gc
import random
import sys
import tracemalloc
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from pydantic import BaseModel

from stoker.core.entries.memory_store import ENTRY_BYTES, MemoryStore
from stoker.core.entries.weight import UNKNOWN_BYTES, weigh

chance = random.Random(7)


def text(length: int) -> str:
    return "".join(chance.choices("abcdefghijklmnop qrstuvwxyz", k=length))


def document() -> dict[str, Any]:
    return {
        **{f"field_{number}": text(chance.randint(20, 60)) for number in range(20)},
        "price": chance.random() * 100,
        "stock": chance.randint(1_000, 9_999),
        "tags": [text(9) for _ in range(3)],
        "there": True,
    }


@dataclasses.dataclass
class Plain:
    number: int
    name: str
    missing: None = None


@dataclasses.dataclass(slots=True)
class Slotted:
    number: int
    name: str
    missing: None = None


class Pair(NamedTuple):
    left: str
    right: str


class Struct(msgspec.Struct):
    number: int
    name: str


class Model(BaseModel):
    number: int
    name: str


class Colour(enum.Enum):
    RED = "a text that all members share, and nobody pays for"


DOCUMENTS = [msgspec.msgpack.encode(document()) for _ in range(300)]

KINDS: dict[str, Callable[[int], Any]] = {
    "a decoded document": lambda index: msgspec.msgpack.decode(DOCUMENTS[index % 300]),
    "bytes": lambda index: bytes(1000 + index % 48),
    "bytearray": lambda _: bytearray(2000),
    "a large text": lambda index: "x" * (5_000 + index % 8),
    "a short text": lambda index: f"a text that has a number: {index:020}",
    "a text beyond ASCII": lambda index: f"größe {index:040} €",
    "a large number": lambda index: 10**30 + index,
    "a dataclass": lambda index: Plain(index + 1000, text(60)),
    "a slotted dataclass": lambda index: Slotted(index + 1000, text(60)),
    "a struct": lambda index: Struct(index + 1000, text(60)),
    "a model": lambda index: Model(number=index + 1000, name=text(60)),
    "nested lists": lambda _: [[chance.randint(1_000, 10**6) for _ in range(12)] for _ in range(8)],
    "a list of documents": lambda index: [msgspec.msgpack.decode(DOCUMENTS[index % 300]) for _ in range(3)],
    "a tuple of texts": lambda _: tuple(text(79) for _ in range(20)),
    "a set of texts": lambda _: {text(79) for _ in range(20)},
    "a dictionary of its own keys": lambda _: {text(62): text(62) for _ in range(20)},
    "a time": lambda index: [datetime.datetime.fromtimestamp(index, datetime.UTC)] * 1 + [None] * 20,
}


def taken(make: Callable[[int], Any], count: int) -> tuple[int, list[Any]]:
    """Bytes that so many values take, by Python's own account."""
    make(0)  # what is made once only
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        values = [make(index) for index in range(count)]
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before - sys.getsizeof(values), values
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_within_a_tenth_of_what_is_taken(kind: str) -> None:
    real, values = taken(KINDS[kind], 500)
    counted = sum(map(weigh, values))
    assert counted == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("kind", ["a decoded document", "bytes", "a dataclass", "a short text"])
def test_a_store_counts_what_it_takes(kind: str) -> None:
    count = 1_500

    def fill(_: int) -> MemoryStore[tuple[str, str], Any]:
        store: MemoryStore[tuple[str, str], Any] = MemoryStore(count, 10**9)
        for index in range(3 * count):  # it has been full for a while
            key, value = ("type", f"key:{index}"), KINDS[kind](index)
            store.put(key, value, weigh(key) + weigh(value) + ENTRY_BYTES)
        return store

    real, (store,) = taken(fill, 1)
    assert len(store) == count
    assert store.bytes == pytest.approx(real, rel=0.1)


@pytest.mark.parametrize("collect", [list, tuple, set, deque, dict.fromkeys])
def test_large_collections_are_weighed_by_a_sample(collect: Callable[[list[str]], Any]) -> None:
    real, values = taken(lambda _: collect([text(62) for _ in range(3_000)]), 2)
    assert sum(map(weigh, values)) == pytest.approx(real, rel=0.1)


def test_the_effort_is_bounded() -> None:
    """Counted in looks at sizes: a collection of collections of collections costs no more than a flat one."""
    looks = 0

    class Counted:
        __slots__ = ()

        def __sizeof__(self) -> int:
            nonlocal looks
            looks += 1
            return 16

    deep: Any = [[[[Counted() for _ in range(9)] for _ in range(9)] for _ in range(9)] for _ in range(9)]
    weigh(deep)
    assert 0 < looks <= 2_000


def test_what_holds_itself_is_weighed_once() -> None:
    loop: list[Any] = [1_000]
    loop.append(loop)
    assert weigh(loop) < 300
    table: dict[str, Any] = {}
    table["self"] = [table, table]
    assert weigh(table) < 1_000


def test_deep_nesting_ends_somewhere() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert 0 < weigh(deep) < 10_000


def test_what_is_shared_costs_nothing() -> None:
    shared = [True, None, 5, Colour.RED, int, len, sys]
    assert weigh(shared) == weigh([None] * len(shared))
    for value in (None, True, Colour.RED, dict):
        assert weigh(value) == 0


def test_keys_that_others_hold_cost_nothing() -> None:
    keys = [text(50) for _ in range(20)]
    here, there = dict.fromkeys(keys), {str(key + "!"): None for key in keys}
    assert weigh(there) >= weigh(here) + 20 * 90


def test_kinds_of_collections_are_collections() -> None:
    words = [text(62) for _ in range(20)]
    for made in (OrderedDict.fromkeys(range(20), text(62)), deque(words), frozenset(words[:9])):
        assert weigh(made) > sys.getsizeof(made)
    assert weigh(Pair(text(62), text(62))) > 200
    assert weigh(memoryview(bytes(5_000))) > 5_000


def test_weighing_a_dataclass_leaves_it_as_small_as_it_was() -> None:
    """Asking an object for its dictionary makes one."""
    values = [Plain(index, "x") for index in range(1_000)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for value in values:
            weigh(value)
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


def test_an_object_that_is_not_complete_is_weighed() -> None:
    assert 0 < weigh(Slotted.__new__(Slotted)) < UNKNOWN_BYTES


def test_a_value_that_resists_has_some_weight() -> None:
    class Wild(dict[str, str]):
        def __len__(self) -> int:
            raise RuntimeError("not now")

    assert weigh(Wild(a="b")) == UNKNOWN_BYTES
