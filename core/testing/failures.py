"""The rule of stores that can be out of reach."""

from __future__ import annotations

from stoker.core.interface import CacheInterface
from stoker.core.metrics.stats import CacheStats
from stoker.core.testing.rules import Rules, rule


class FailureContract(Rules):
    """What every store must do that can be put out of reach: trouble with it is no exception.

    ```python
    class TestMyStore(CacheContract, FailureContract):
        async def make(self, namespace: str) -> CacheInterface:
            return MyStore(namespace, self.server)

        async def break_down(self, cache: CacheInterface) -> None:
            self.server.stop()
    ```
    """

    async def break_down(self, cache: CacheInterface) -> None:
        """Put out of reach what the cache keeps its values in."""
        raise NotImplementedError(f"{type(self).__name__}.break_down: take its server away from {cache!r}")

    @rule
    async def test_trouble_is_a_miss(self, cache: CacheInterface) -> None:
        """Reads miss, writes answer False, counts 0, and a loader's value is answered."""
        await cache.set("key", "tea")
        await self.break_down(cache)

        async def load() -> str:
            return "loaded"

        assert await cache.get("key", "default") == "default", "a read misses"
        assert await cache.get_many(["key"]) == {}, "reads of many miss"
        assert await cache.exists("key") is False, "nothing exists"
        assert await cache.ttl("key") is None, "there is no TTL"
        assert await cache.set("key", "cup") is False, "a set answers False"
        assert await cache.set("new", "cup", if_absent=True) is False, "so does one if absent"
        assert await cache.set_many({"a": 1}) == 0, "none of many is stored"
        assert await cache.expire("key", 60) is False, "nothing gets another TTL"
        assert await cache.increment("counter") is None, "a counter answers None"
        assert await cache.delete("key") == 0, "a delete counts 0"
        assert await cache.delete_many(["key", "other"]) == 0, "so does one of many"
        assert await cache.clear() is False, "a clear answers False"
        assert await cache.get_or_load("key", load) == "loaded", "the loader's value is answered"
        assert isinstance(await cache.get_stats(), CacheStats), "statistics are there all the same"
