"""Rules of batches, of loads, of counters, and of many callers at once."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import SkipTest

from stoker.core.entries.codec import MISSING
from stoker.core.interface import CacheInterface
from stoker.core.testing.rules import Rules, rule

#: Callers at once.
MANY = 25


class BatchRules(Rules):
    """Many keys at once are as one by one."""

    @rule
    async def test_get_many_answers_what_is_there(self, cache: CacheInterface) -> None:
        """By key, each once, and nothing for those that are not."""
        await cache.set("a", 1)
        await cache.set("b", None)
        assert await cache.get_many(["a", "b", "c", "a"]) == {"a": 1, "b": None}, "those that are there"
        assert await cache.get_many([]) == {}, "no keys, no values"
        assert await cache.get_many(iter(["a"])) == {"a": 1}, "keys may come from an iterator"

    @rule
    async def test_set_many_stores_all(self, cache: CacheInterface) -> None:
        """And says how many; the TTL is that of all."""
        assert await cache.set_many({"a": 1, "b": 2}, ttl=self.tick) == 2, "two were stored"
        assert await cache.set_many({}) == 0, "none was stored"
        await self.until_gone(cache, "a")
        await self.until_gone(cache, "b")

    @rule
    async def test_delete_many_says_how_many_went(self, cache: CacheInterface) -> None:
        """A key that is not there, or named twice, counts once or not at all."""
        await cache.set_many({"a": 1, "b": 2, "c": 3})
        assert await cache.delete_many(["a", "b", "a", "absent"]) == 2, "two went"
        assert await cache.get_many(["a", "b", "c"]) == {"c": 3}, "the rest stays"
        assert await cache.delete_many([]) == 0, "none went"


class LoadRules(Rules):
    """`get_or_load` loads what is missing, and keeps it."""

    @rule
    async def test_a_miss_is_loaded_and_kept(self, cache: CacheInterface) -> None:
        """With the arguments that were given; the second read is a hit."""
        loads: list[tuple[Any, ...]] = []

        async def load(*args: Any, **kwargs: Any) -> dict[str, Any]:
            loads.append((*args, kwargs))
            return {"loaded": len(loads)}

        assert await cache.get_or_load("key", load, 1, full=True) == {"loaded": 1}, "it was loaded"
        assert await cache.get_or_load("key", load, 1, full=True) == {"loaded": 1}, "it was kept"
        assert loads == [(1, {"full": True})], "once, with its arguments"
        assert await cache.get("key") == {"loaded": 1}, "a plain read finds it, too"

    @rule
    async def test_a_loaded_none_is_kept(self, cache: CacheInterface) -> None:
        """That there is no such thing is an answer, too."""
        loads: list[None] = []

        async def load() -> str | None:
            loads.append(None)
            return None

        assert await cache.get_or_load("key", load) is None, "the loader's None is the answer"
        await cache.get_or_load("key", load)
        assert len(loads) == 1, "None was kept"

    @rule
    async def test_what_a_loader_raises_is_the_callers(self, cache: CacheInterface) -> None:
        """And nothing is stored."""

        async def load() -> str:
            raise LookupError("no such product")

        try:
            await cache.get_or_load("key", load)
        except LookupError:
            pass
        else:
            raise AssertionError("the loader's exception was swallowed")
        assert await cache.get("key", MISSING) is MISSING, "nothing was stored"


class CounterRules(Rules):
    """Counters add up."""

    @rule
    async def test_a_counter_begins_at_nought(self, cache: CacheInterface) -> None:
        """And takes any amount, either way."""
        assert await cache.increment("counter") == 1, "it begins at 0"
        assert await cache.increment("counter", 10) == 11, "any amount can be added"
        assert await cache.decrement("counter", 12) == -1, "and subtracted, also below 0"
        assert await cache.decrement("other") == -1, "each counter is its own"

    @rule
    async def test_a_counter_ends_with_its_ttl_or_a_delete(self, cache: CacheInterface) -> None:
        """Then it begins anew."""
        await cache.increment("deleted", 5)
        await cache.delete("deleted")
        assert await cache.increment("deleted") == 1, "a deleted counter begins anew"
        await cache.increment("brief", 5, ttl=self.tick)
        for _ in range(MANY):
            await self.elapse(self.tick / 2)
            if await cache.increment("brief", ttl=self.tick) == 1:
                return
        raise AssertionError("a counter outlived its TTL, which runs from its first increment")

    @rule
    async def test_counters_of_namespaces_are_apart(self, cache: CacheInterface) -> None:
        """Where the store has namespaces: each counts for itself, and a delete stays in its own."""
        if not self.namespaces:
            raise SkipTest("the store has no namespaces")
        other = await self.another(f"{self.namespace}-other")
        await cache.increment("counter", 5)
        assert await other.increment("counter") == 1, "each namespace has a counter of its own"
        await cache.delete("counter")
        assert await other.increment("counter") == 2, "a delete stays in its namespace"

    @rule
    async def test_no_increment_is_lost(self, cache: CacheInterface) -> None:
        """Of many at once each is counted, and each gets a number of its own."""
        numbers = await asyncio.gather(*(cache.increment("counter") for _ in range(MANY)))
        assert sorted(number or 0 for number in numbers) == list(range(1, MANY + 1)), f"{numbers}"

    @rule
    async def test_of_many_who_set_if_absent_one_does(self, cache: CacheInterface) -> None:
        """And its value is what is stored."""
        answers = await asyncio.gather(*(cache.set("lock", number, if_absent=True) for number in range(MANY)))
        assert answers.count(True) == 1, f"{answers.count(True)} of {MANY} were first"
        assert await cache.get("lock") == answers.index(True), "the first one's value is stored"
