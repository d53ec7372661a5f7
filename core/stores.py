"""Caches by key alone that own all they need: in memory, in Redis, or in both.

Each is a view on one type of a manager of its own. Where a service has several caches, one `CacheManager` and
its `cache(…)` views share a connection, a memory and an invalidation log; these don't.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from stoker.core.aliases import LifeAliases
from stoker.core.errors import UsageError
from stoker.core.manager import CacheManager
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.given import check_config, from_environment
from stoker.core.settings.older_names import ConfigArguments
from stoker.core.settings.policy import Tier
from stoker.core.view import Cache
from stoker.core.vocabulary import CacheBackend

if TYPE_CHECKING:
    from stoker.core.metrics.cache_metrics import CacheMetrics

#: The type of a store's entries, where it is told no other.
STORE_TYPE = "cache"


class Store(LifeAliases, Cache):
    """A cache by key that owns its manager: connect it before use, and close it, or use it in `async with`.

    It keeps TTLs to the second (`jitter` is 0), unless the configuration says otherwise for its type.

    Args:
        config: The configuration, which then says all. Else the environment's holds (`REDIS_URL`,
            `STOKER_REDIS__TIMEOUT`, …), and over it the arguments, by their own or by older names.
        namespace: What its keys begin with, in place of the configuration's.
        cache_type: The type of its entries.
        metrics: Where Prometheus finds what it did.
        **arguments: As of `CacheConfig`: `default_ttl=600, redis_host="cache"`.

    Raises:
        UsageError: Both a configuration and its arguments are given, or they can't be used.
        ConfigError: The environment can't be used.
    """

    tiers: ClassVar[tuple[Tier, ...]]
    """Where entries are kept."""

    usual: ClassVar[Mapping[str, Any]] = {}
    """What is different here from other caches where nothing is said of it: of the memory."""

    usual_policy: ClassVar[Mapping[str, Any]] = {"jitter": 0.0}
    """The same of the entries' type."""

    def __init__(
        self,
        config: CacheConfig | None = None,
        *,
        cache_type: str = STORE_TYPE,
        metrics: CacheMetrics | None = None,
        **arguments: Unpack[ConfigArguments],
    ) -> None:
        kind, argument = type(self), "url" if "redis" in self.tiers else "namespace"
        check_config(kind, config, f"{kind.__name__}({argument}=…), or {kind.__name__}(CacheConfig(…))")
        namespace = arguments.pop("namespace", None)
        if config is None:
            config = from_environment(arguments)
        elif arguments:
            names = ", ".join(arguments)
            raise UsageError(f"give a configuration or its arguments, not both: write CacheConfig({names}=…)")
        manager = CacheManager(self._fitted(config, cache_type), metrics=metrics)
        super().__init__(manager, cache_type, config.namespace if namespace is None else namespace)

    @classmethod
    def _fitted(cls, config: CacheConfig, cache_type: str) -> CacheConfig:
        """The configuration with the store's type in its tiers."""
        in_redis, backend = "redis" in cls.tiers, config.said("backend")
        if in_redis and not config.redis.enabled:
            raise UsageError(
                f"{cls.__name__} needs Redis, which backend, redis.enabled or $USE_REDIS turns off"
            )
        if not in_redis and backend not in {None, CacheBackend.MEMORY}:
            raise UsageError(
                f"{cls.__name__} keeps nothing in Redis, but backend is {CacheBackend(backend)}: "
                "take RedisCache or MultiLayerCache, or leave backend out"
            )
        memory = config.memory
        size = config.said("l1_max_size" if in_redis else "max_size")
        if size is not None:
            memory = memory.model_copy(update={"entries": size})
        elif "memory" in cls.tiers and "entries" not in memory.model_fields_set:
            memory = memory.model_copy(update=cls.usual)
        redis = config.redis.model_copy(update={"enabled": in_redis})
        fitted = config.with_type(cache_type, cls.usual_policy, tiers=cls.tiers)
        return fitted.model_copy(update={"memory": memory, "redis": redis})

    async def connect(self) -> bool:
        """Start; say whether the server answered. If not, it is tried again in the background."""
        return await self.manager.connect()

    async def close(self, timeout: float = 5.0) -> None:
        """Let loads under way end within `timeout` seconds, then disconnect."""
        await self.manager.close(timeout)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class MemoryCache(Store):
    """A cache in this process's memory alone: no server is asked, and `connect` may be left out.

    ```python
    cache = MemoryCache(namespace="users", default_ttl=3600, max_size=1000)
    ```
    """

    tiers = ("memory",)
    usual: ClassVar[Mapping[str, Any]] = {"entries": 1000}


class RedisCache(Store):
    """A cache in Redis.

    ```python
    cache = RedisCache(url="redis://cache:6379/0", default_ttl=300, key_prefix="myapp")
    ```
    """

    tiers = ("redis",)


class MultiLayerCache(Store):
    """A cache in Redis with this process's memory in front: hits there are at most a second behind.

    ```python
    cache = MultiLayerCache(CacheConfig(namespace="api", redis_host="cache", l1_max_size=100, l1_ttl=300))
    ```
    """

    tiers = ("memory", "redis")
    usual: ClassVar[Mapping[str, Any]] = {"entries": 100}
    usual_policy: ClassVar[Mapping[str, Any]] = {"jitter": 0.0, "memory_ttl": 300.0}


#: The name that one of the older systems had for it.
InMemoryCache = MemoryCache
