"""The contract of stores: a right store keeps it, and each way to break it is found out by its rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from unittest import SkipTest

import pytest

from stoker.core import CacheInterface
from stoker.core.testing import CacheContract, FailureContract
from tests.broken_stores import BROKEN, MORE, ClearsEverybody
from tests.shelves import DictStore, Shelf


class TestDictStore(CacheContract, FailureContract):
    """Somebody's own store, with a clock that the tests set: none of them waits."""

    store: type[DictStore] = DictStore
    copies = True

    async def make(self, namespace: str) -> CacheInterface:
        if not hasattr(self, "shelf"):
            self.shelf = Shelf()
        return self.store(self.shelf, namespace)

    async def elapse(self, seconds: float) -> None:
        self.shelf.now += seconds

    async def break_down(self, cache: CacheInterface) -> None:
        self.shelf.down = True


def rules() -> dict[str, Callable[[Any], None]]:
    return {
        name: member
        for name, member in inspect.getmembers(TestDictStore, inspect.isfunction)
        if name.startswith("test_")
    }


def test_each_rule_has_a_store_that_breaks_it() -> None:
    assert set(BROKEN) == set(rules())


@pytest.mark.parametrize(("name", "store"), [*BROKEN.items(), *MORE])
def test_a_broken_store_is_found_out(name: str, store: type[DictStore]) -> None:
    contract = TestDictStore()
    contract.store = store
    with pytest.raises((AssertionError, ConnectionError)):
        rules()[name](contract)


def test_a_store_says_what_it_can_not() -> None:
    class Modest(TestDictStore):
        binary = False
        namespaces = False
        copies = False

    for name in (
        "test_bytes_stay_bytes",
        "test_namespaces_are_apart",
        "test_counters_of_namespaces_are_apart",
        "test_a_value_belongs_to_who_reads_it",
    ):
        with pytest.raises(SkipTest):
            rules()[name](Modest())


def test_a_class_that_makes_nothing_is_told_so() -> None:
    with pytest.raises(NotImplementedError, match=r"CacheContract\.make"):
        rules()["test_none_is_a_value"](CacheContract())

    class Unbreakable(FailureContract):
        async def make(self, namespace: str) -> CacheInterface:
            return DictStore(Shelf(), namespace)

    with pytest.raises(NotImplementedError, match=r"Unbreakable\.break_down"):
        rules()["test_trouble_is_a_miss"](Unbreakable())


def test_caches_are_closed_also_when_a_rule_is_broken() -> None:
    closed: list[str] = []

    class Closing(ClearsEverybody):
        async def close(self) -> None:
            closed.append(self.begin)

    contract = TestDictStore()
    contract.store = Closing
    with pytest.raises(AssertionError, match="a clear stays in its namespace"):
        rules()["test_namespaces_are_apart"](contract)
    assert len(set(closed)) == len(closed) == 2
