"""Other caches behind one interface, each set up as its documentation does; none has to be installed."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis

from benchmarks.measuring import optional, version


class PeerCache(ABC):
    """A cache in Redis as its users see it. A miss answers None."""

    name: str
    distribution: str

    @classmethod
    def installed(cls) -> str | None:
        """The version that is installed, if any is."""
        return version(cls.distribution)

    @abstractmethod
    async def open(self, url: str) -> None:
        """Connect to a server: `redis://` or `unix://`."""

    @abstractmethod
    async def get(self, key: str) -> Any:
        """Read one value."""

    @abstractmethod
    async def set(self, key: str, value: Any) -> None:
        """Store one value."""

    @abstractmethod
    async def get_many(self, keys: Sequence[str]) -> object:
        """Read many values with what the cache has for it."""

    @abstractmethod
    async def set_many(self, values: Mapping[str, Any]) -> None:
        """Store many values with what the cache has for it."""

    @abstractmethod
    async def set_grouped(self, key: str, value: Any) -> None:
        """Store a value that `drop_group` will drop."""

    @abstractmethod
    async def drop_group(self) -> None:
        """Delete all that `set_grouped` stored, with what the cache has for it."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""


#: Seconds that stored values live.
TTL_SECONDS = 3600


class CashewsCache(PeerCache):
    """Groups are its tags."""

    name = distribution = "cashews"

    async def open(self, url: str) -> None:  # noqa: D102
        logging.getLogger("cashews").setLevel(logging.CRITICAL)  # it logs a trace for every failed command
        module: Any = optional("cashews")
        self._cache = module.Cache()
        self._cache.setup("redis://", address=url)  # it knows no unix:// by itself
        self._cache.register_tag("group", "{key}")
        await self._cache.init()

    async def get(self, key: str) -> Any:  # noqa: D102
        return await self._cache.get(key)

    async def set(self, key: str, value: Any) -> None:  # noqa: D102
        await self._cache.set(key, value, expire=TTL_SECONDS)

    async def get_many(self, keys: Sequence[str]) -> object:  # noqa: D102
        return await self._cache.get_many(*keys)

    async def set_many(self, values: Mapping[str, Any]) -> None:  # noqa: D102
        await self._cache.set_many(values, expire=TTL_SECONDS)

    async def set_grouped(self, key: str, value: Any) -> None:  # noqa: D102
        await self._cache.set(key, value, expire=TTL_SECONDS, tags=["group"])

    async def drop_group(self) -> None:  # noqa: D102
        await self._cache.delete_tags("group")

    async def close(self) -> None:  # noqa: D102
        await self._cache.close()


class AiocacheCache(PeerCache):
    """Groups are its namespaces."""

    name = distribution = "aiocache"

    async def open(self, url: str) -> None:  # noqa: D102
        module: Any = optional("aiocache")
        serializers: Any = optional("aiocache.serializers")
        logging.getLogger("aiocache").setLevel(logging.CRITICAL)
        self._cache = module.Cache(
            module.Cache.REDIS, serializer=serializers.PickleSerializer(), namespace="peer"
        )
        # Its own constructor knows hosts and ports alone; the client is redis-py's all the same.
        self._cache.client = Redis.from_url(url)

    async def get(self, key: str) -> Any:  # noqa: D102
        return await self._cache.get(key)

    async def set(self, key: str, value: Any) -> None:  # noqa: D102
        await self._cache.set(key, value, ttl=TTL_SECONDS)

    async def get_many(self, keys: Sequence[str]) -> object:  # noqa: D102
        return await self._cache.multi_get(keys)

    async def set_many(self, values: Mapping[str, Any]) -> None:  # noqa: D102
        await self._cache.multi_set(list(values.items()), ttl=TTL_SECONDS)

    async def set_grouped(self, key: str, value: Any) -> None:  # noqa: D102
        await self._cache.set(key, value, ttl=TTL_SECONDS)

    async def drop_group(self) -> None:  # noqa: D102
        await self._cache.clear(namespace="peer")

    async def close(self) -> None:  # noqa: D102
        await self._cache.client.aclose()


PEERS: dict[str, type[PeerCache]] = {"cashews": CashewsCache, "aiocache": AiocacheCache}
