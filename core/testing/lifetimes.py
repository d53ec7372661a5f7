"""Rules of time to live."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from stoker.core.entries.codec import MISSING
from stoker.core.interface import CacheInterface
from stoker.core.testing.rules import Rules, rule

#: Seconds that nothing in these tests takes.
LONG = 1_000.0


class LifetimeRules(Rules):
    """Nothing is served after its TTL, and nothing goes before."""

    @rule
    async def test_a_value_ends_with_its_ttl(self, cache: CacheInterface) -> None:
        """For every method that could still see it."""
        await cache.set("key", "tea", ttl=self.tick)
        await cache.set("other", "cup", ttl=LONG)
        await self.until_gone(cache, "key")
        assert await cache.get("key", MISSING) is MISSING, "get sees it no more"
        assert await cache.ttl("key") is None, "it has no TTL any more"
        assert await cache.get_many(["key", "other"]) == {"other": "cup"}, "get_many sees only the other"

    @rule
    async def test_ttl_tells_the_seconds_left(self, cache: CacheInterface) -> None:
        """None where there is nothing."""
        await cache.set("key", "tea", ttl=LONG)
        left = await cache.ttl("key")
        assert left is not None, "a value with a TTL has one"
        assert LONG / 2 < left <= LONG, f"of {LONG:g} s there are {left:g} left"
        assert await cache.ttl("absent") is None, "what is not there has no TTL"

    @rule
    async def test_a_set_brings_its_own_ttl(self, cache: CacheInterface) -> None:
        """What was there before it leaves nothing of its TTL."""
        await cache.set("key", "one", ttl=self.tick)
        await cache.set("key", "two", ttl=LONG)
        await cache.set("witness", "", ttl=self.tick)
        await self.until_gone(cache, "witness")
        assert await cache.get("key") == "two", "the last set's TTL counts"

    @rule
    async def test_expire_gives_another_ttl(self, cache: CacheInterface) -> None:
        """Longer or shorter, and without changing the value."""
        await cache.set("longer", "tea", ttl=self.tick * 20)
        await cache.set("shorter", "cup", ttl=LONG)
        assert await cache.expire("longer", LONG) is True, "there was something to expire"
        assert await cache.expire("shorter", self.tick) is True, "there was something to expire"
        left = await cache.ttl("longer")
        assert left is not None, "it is still there"
        assert left > LONG / 2, f"it has {left:g} s left, not {LONG:g}"
        assert await cache.get("longer") == "tea", "its value is as it was"
        await self.until_gone(cache, "shorter")
        assert await cache.get("shorter", MISSING) is MISSING, "the shorter TTL holds"

    @rule
    async def test_expire_revives_nothing(self, cache: CacheInterface) -> None:
        """What is not there, or not any more, stays so."""
        assert await cache.expire("absent", LONG) is False, "there was nothing to expire"
        await cache.set("key", "tea", ttl=self.tick)
        await self.until_gone(cache, "key")
        assert await cache.expire("key", LONG) is False, "what has expired is not there"
        assert await cache.get("key", MISSING) is MISSING, "what has expired is not revived"

    @rule
    async def test_a_ttl_that_is_none_is_refused(self, cache: CacheInterface) -> None:
        """With a `ValueError` at the call (`UsageError` is one), and nothing is stored."""
        for ttl in (0, -1):
            try:
                await cache.set("key", "tea", ttl=ttl)
            except ValueError:
                continue
            raise AssertionError(f"ttl={ttl} was taken: it is no time to live")
        assert await cache.exists("key") is False, "nothing was stored"

    @rule
    async def test_no_other_method_takes_such_a_ttl(self, cache: CacheInterface) -> None:
        """Neither `expire`, which would say that something lives on, nor `set_many`, nor `increment`."""
        await cache.set("key", "tea", ttl=LONG)
        for ttl in (0, -1):
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "expire": partial(cache.expire, "key", ttl),
                "set_many": partial(cache.set_many, {"new": 1}, ttl=ttl),
                "increment": partial(cache.increment, "counter", ttl=ttl),
            }
            for name, call in calls.items():
                try:
                    await call()
                except ValueError:
                    continue
                raise AssertionError(f"{name} took a TTL of {ttl}: it is no time to live")
        assert await cache.get("key") == "tea", "what is there stays as it was"
        assert await cache.exists("new") is False, "nothing was stored"

    @rule
    async def test_a_set_if_absent_stores_only_then(self, cache: CacheInterface) -> None:
        """A value that has expired, or was deleted, is absent."""
        assert await cache.set("key", "one", if_absent=True) is True, "it was absent"
        assert await cache.set("key", "two", if_absent=True) is False, "it was there"
        assert await cache.get("key") == "one", "what was there is as it was"
        await cache.delete("key")
        assert await cache.set("key", "three", ttl=self.tick, if_absent=True) is True, "it was deleted"
        await self.until_gone(cache, "key")
        assert await cache.set("key", "four", if_absent=True) is True, "it had expired"
        await cache.set("nothing", None)
        assert await cache.set("nothing", "something", if_absent=True) is False, "None is a value"

    @rule
    async def test_nx_is_if_absent(self, cache: CacheInterface) -> None:
        """The other word for it; and a TTL may come as the third argument."""
        assert await cache.set("key", "one", LONG, nx=True) is True, "it was absent"
        assert await cache.set("key", "two", LONG, nx=True) is False, "it was there"
        left = await cache.ttl("key")
        assert left is not None, "it has a TTL"
        assert LONG / 2 < left <= LONG, f"of {LONG:g} s there are {left:g} left"
