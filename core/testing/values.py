"""Rules of values and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

from stoker.core.entries.codec import MISSING
from stoker.core.interface import CacheInterface
from stoker.core.metrics.stats import CacheStats
from stoker.core.testing.rules import Rules, rule

VALUES: dict[str, Any] = {
    "text": "tea",
    "empty": "",
    "unicode": "Grüße, 世界 🫖",
    "zero": 0,
    "number": -(2**53),
    "fraction": 0.1,
    "true": True,
    "false": False,
    "list": [1, "two", [3]],
    "dict": {"name": "tea", "tags": ["hot", "green"], "price": {"cents": 250}},
    "nothing in it": {},
}

KEYS = (
    "a",
    "A",
    "a:b",
    "a:b:c",
    "a b",
    "é",
    "世",
    "*",
    "a*",
    "a?",
    "[a]",
    "{a}",
    "a/b",
    "a\\b",
    "1",
    "x" * 200,
)


@dataclass
class Point:
    """A value that is no plain data."""

    x: int
    y: int


class ValueRules(Rules):
    """What is stored comes back."""

    @rule
    async def test_what_is_not_there_is_a_miss(self, cache: CacheInterface) -> None:
        """`get` answers None, or the default that was given."""
        assert await cache.get("absent") is None, "a miss answers None"
        assert await cache.get("absent", "default") == "default", "a miss answers the default"
        assert await cache.exists("absent") is False, "what is not there does not exist"

    @rule
    async def test_values_come_back_as_they_were(self, cache: CacheInterface) -> None:
        """Plain data of every kind, equal and of the same type."""
        for name, value in VALUES.items():
            assert await cache.set(name, value) is True, f"set({value!r}) answers True"
            found = await cache.get(name, MISSING)
            assert found == value, f"{value!r} comes back as {found!r}"
            assert type(found) is type(value), f"{value!r} comes back as a {type(found).__name__}"

    @rule
    async def test_none_is_a_value(self, cache: CacheInterface) -> None:
        """A stored None is a hit."""
        await cache.set("key", None)
        assert await cache.get("key", MISSING) is None, "a stored None is no miss"
        assert await cache.exists("key") is True, "a stored None exists"
        assert await cache.get_many(["key"]) == {"key": None}, "get_many finds a stored None"

    @rule
    async def test_bytes_stay_bytes(self, cache: CacheInterface) -> None:
        """Where the store says that it is `binary`."""
        if not self.binary:
            raise SkipTest("the store keeps no bytes")
        value = bytes(range(256))
        await cache.set("key", value)
        assert await cache.get("key", into=bytes) == value, "bytes come back as they were"

    @rule
    async def test_large_values_are_kept_whole(self, cache: CacheInterface) -> None:
        """Up to the size that the store says."""
        value = "ä" * (self.large // 2)
        assert await cache.set("key", value) is True, f"a value of {self.large} bytes is stored"
        assert await cache.get("key") == value, "a large value comes back whole"

    @rule
    async def test_values_come_back_as_the_type_that_is_asked_for(self, cache: CacheInterface) -> None:
        """`into` makes a dataclass of what was stored as one."""
        await cache.set("key", Point(1, 2))
        assert await cache.get("key", into=Point) == Point(1, 2), "into=Point answers a Point"
        assert (await cache.get_many(["key"], into=Point))["key"] == Point(1, 2), "get_many knows into, too"

    @rule
    async def test_keys_are_apart(self, cache: CacheInterface) -> None:
        """Case, separators, and characters that patterns know make no two keys one."""
        for key in KEYS:
            await cache.set(key, f"of {key}")
        for key in KEYS:
            assert await cache.get(key) == f"of {key}", f"{key!r} has the value of another key"

    @rule
    async def test_a_set_replaces_what_was_there(self, cache: CacheInterface) -> None:
        """The last value counts."""
        await cache.set("key", "one")
        assert await cache.set("key", {"two": 2}) is True, "a set over another answers True"
        assert await cache.get("key") == {"two": 2}, "the last value counts"

    @rule
    async def test_a_value_belongs_to_who_reads_it(self, cache: CacheInterface) -> None:
        """Where the store says that it `copies`: what readers or writers change, others don't see."""
        if not self.copies:
            raise SkipTest("the store does not say that it copies values")
        value = {"names": ["tea"]}
        await cache.set("key", value)
        value["names"].append("cup")
        for found in (await cache.get("key"), (await cache.get_many(["key"]))["key"]):
            assert found == {"names": ["tea"]}, "what a writer changes after the set is not stored"
            found["names"].append("pot")
        assert await cache.get("key") == {"names": ["tea"]}, "what a reader changes is not stored"

    @rule
    async def test_tags_change_nothing_for_a_read(self, cache: CacheInterface) -> None:
        """A store may make nothing of them, but must take them."""
        assert await cache.set("key", "tea", tags=["drink", "hot"]) is True, "tags are taken"
        assert await cache.get("key") == "tea", "a value with tags comes back"

    @rule
    async def test_delete_forgets_one_key(self, cache: CacheInterface) -> None:
        """And says how many went."""
        await cache.set("key", "tea")
        await cache.set("other", "cup")
        assert await cache.delete("key") == 1, "one entry went"
        assert await cache.get("key", MISSING) is MISSING, "it is gone"
        assert await cache.exists("key") is False, "it exists no more"
        assert await cache.delete("key") == 0, "there was nothing left to delete"
        assert await cache.get("other") == "cup", "the other is there"

    @rule
    async def test_clear_forgets_all(self, cache: CacheInterface) -> None:
        """Whatever the number, and the cache can be used as before."""
        await cache.set_many({str(number): number for number in range(100)})
        assert await cache.clear() is True, "clear answers True"
        left = await cache.get_many([str(number) for number in range(100)])
        assert not left, f"{len(left)} entries outlived clear"
        await cache.set("key", "tea")
        assert await cache.get("key") == "tea", "after a clear, values can be stored"

    @rule
    async def test_clear_beginning_forgets_what_begins_so(self, cache: CacheInterface) -> None:
        """Others may go with it, where the store can't tell them apart; none that begins so may stay."""
        await cache.set_many({"user:1": 1, "user:2": 2, "user": 3})
        assert await cache.clear_beginning("user:") is True, "clear_beginning answers True"
        assert await cache.get_many(["user:1", "user:2"]) == {}, "what begins so is gone"

    @rule
    async def test_a_beginning_is_no_pattern(self, cache: CacheInterface) -> None:
        """What stands in it stands for itself."""
        for beginning in ("a[1]:", "a?:", "a*:", "a\\b:", "{a}:"):
            await cache.set(f"{beginning}key", "tea")
            assert await cache.clear_beginning(beginning) is True, "clear_beginning answers True"
            assert await cache.exists(f"{beginning}key") is False, f"what begins with {beginning!r} is gone"

    @rule
    async def test_equal_data_have_one_key(self, cache: CacheInterface) -> None:
        """In whatever order, and other data have another; it can be used as a key."""
        one = cache.hash_key({"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
        same = cache.hash_key({"messages": [{"content": "Hello", "role": "user"}], "model": "m"})
        other = cache.hash_key({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
        assert one == same, "the order of a dict doesn't matter"
        assert one != other, "other data have another key"
        await cache.set(one, "answer")
        assert await cache.get(same) == "answer", "it can be used as a key"

    @rule
    async def test_a_read_may_go_uncounted(self, cache: CacheInterface) -> None:
        """With `track_stats=False` the answer is the same, and statistics don't know of it."""
        await cache.set("key", "tea")
        await cache.get("key")
        before = await cache.get_stats()
        assert await cache.get("key", track_stats=False) == "tea", "an uncounted read answers the same"
        assert await cache.get("absent", "default", track_stats=False) == "default", "an uncounted miss, too"
        after = await cache.get_stats()
        assert (after.hits, after.misses) == (before.hits, before.misses), "an uncounted read was counted"

    @rule
    async def test_statistics_can_be_asked_for(self, cache: CacheInterface) -> None:
        """As a `CacheStats`, whatever the store counts; and be reset."""
        assert isinstance(await cache.get_stats(), CacheStats), "get_stats answers a CacheStats"
        await cache.reset_stats()

    @rule
    async def test_namespaces_are_apart(self, cache: CacheInterface) -> None:
        """Where the store has them: neither reads, deletes nor clears reach into another."""
        if not self.namespaces:
            raise SkipTest("the store has no namespaces")
        other = await self.another(f"{self.namespace}-other")
        await cache.set("key", "mine")
        await other.set("key", "theirs")
        assert await cache.get("key") == "mine", "each has a key of its own"
        await cache.delete("key")
        assert await other.get("key") == "theirs", "a delete stays in its namespace"
        await cache.clear()
        assert await other.get("key") == "theirs", "a clear stays in its namespace"
