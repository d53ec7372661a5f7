"""The library's own stores keep the contract that others are held to, in every tier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from stoker.core import (
    AIResponseCache,
    CacheConfig,
    CacheInterface,
    CacheManager,
    MemoryCache,
    MultiLayerCache,
    RedisCache,
)
from stoker.core.testing import CacheContract, FailureContract
from tests.managers import make_config
from tests.servers import RedisServer
from tests.waiting import eventually

TYPE = "thing"


class ManagersContract(CacheContract, FailureContract):
    """Views on a type of a manager, each with a manager of its own, as of several processes."""

    tiers: ClassVar[list[str]]
    server: RedisServer

    @pytest.fixture(autouse=True)
    def _servers(self, redis_server: RedisServer) -> Iterator[None]:
        self.server = redis_server
        yield
        client = redis_server.client()
        for name in client.scan_iter(match="contract-*", count=1000):
            client.unlink(name)
        client.close()

    def config(self, namespace: str) -> CacheConfig:
        prefix = namespace.removesuffix("-other")
        return make_config(self.server, prefix, **{TYPE: {"tiers": self.tiers, "ttl": 1_000}})

    async def make(self, namespace: str) -> CacheInterface:
        manager = CacheManager(self.config(namespace), recording=False)
        await manager.connect()
        return manager.cache(TYPE, namespace=namespace)

    async def end(self, cache: CacheInterface) -> None:
        await manager_of(cache).close()

    async def break_down(self, cache: CacheInterface) -> None:
        await manager_of(cache).link.close()


def manager_of(cache: Any) -> CacheManager:
    found: CacheManager = cache.manager
    return found


class TestRedis(ManagersContract):
    copies = True
    tiers: ClassVar[list[str]] = ["redis"]


class TestMemoryAndRedis(ManagersContract):
    tiers: ClassVar[list[str]] = ["memory", "redis"]

    def config(self, namespace: str) -> CacheConfig:
        prefix = namespace.removesuffix("-other")
        policy = {"tiers": self.tiers, "ttl": 1_000, "on_outage": "bypass", "memory_bound": 0.05}
        return make_config(self.server, prefix, **{TYPE: policy})

    async def break_down(self, cache: CacheInterface) -> None:
        await manager_of(cache).link.close()

        async def missed() -> bool:
            return not await cache.exists("key")

        await eventually(missed, "memory serves no longer than its bound")


class TestMemoryAlone(CacheContract):
    async def make(self, namespace: str) -> CacheInterface:
        if not hasattr(self, "manager"):
            config = {"redis": {"enabled": False}, "types": {TYPE: {"ttl": 1_000, "jitter": 0}}}
            self.manager = CacheManager(CacheConfig.model_validate(config))
        return self.manager.cache(TYPE, namespace=namespace)

    async def end(self, cache: CacheInterface) -> None:
        await self.manager.close()


class TestMemoryCache(CacheContract):
    async def make(self, namespace: str) -> CacheInterface:
        cache = MemoryCache(namespace=namespace)
        await cache.initialize()
        return cache


class StoresContract(ManagersContract):
    """Stores that own their manager."""

    store: ClassVar[type[RedisCache | MultiLayerCache]]

    async def make(self, namespace: str) -> CacheInterface:
        config = self.config(namespace).model_copy(update={"namespace": namespace})
        cache = self.store(config, cache_type=TYPE)
        await cache.connect()
        return cache


class TestRedisCache(StoresContract):
    copies = True
    store: ClassVar[type[RedisCache | MultiLayerCache]] = RedisCache
    tiers: ClassVar[list[str]] = ["redis"]


class TestMultiLayerCache(StoresContract):
    store: ClassVar[type[RedisCache | MultiLayerCache]] = MultiLayerCache
    tiers: ClassVar[list[str]] = ["memory", "redis"]
    config = TestMemoryAndRedis.config
    break_down = TestMemoryAndRedis.break_down


class TestAIResponseCache(CacheContract):
    server: RedisServer

    @pytest.fixture(autouse=True)
    def _servers(self, redis_server: RedisServer) -> None:
        self.server = redis_server

    async def make(self, namespace: str) -> CacheInterface:
        config = make_config(self.server, namespace.removesuffix("-other"))
        cache = AIResponseCache(config=config, namespace=namespace)
        await cache.connect()
        return cache
