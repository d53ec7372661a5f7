"""`CacheManager`: typed caches over memory and Redis, for any asyncio service."""

from __future__ import annotations

from stoker.core.aliases import LifeAliases, ManagerAliases
from stoker.core.invalidating import Invalidating
from stoker.core.metrics.reporting import Reporting
from stoker.core.view import Cache
from stoker.core.writes import Writes


class CacheManager(Invalidating, Writes, Reporting, LifeAliases, ManagerAliases):
    """The caches of one process.

    ```python
    async with CacheManager(CacheConfig()) as cache:
        product = await cache.get_or_load("product", "42", load_product, 42)
    ```

    Trouble with the cache never breaks the caller: `get` misses, `set` answers False, loads go on.
    Use it from one event loop.

    Args:
        config: Where the server is, and what the cache types are; what the environment says where not given
            (`load_config` reads `stoker.yaml`, too).
        process: Names this process in metrics; host and process id where not given.
        recording: Whether this process's reads count towards hot keys and hit rates.
        read_only: For looking: nothing is recorded, and no epoch of the log is opened where there is none.
        metrics: Where Prometheus finds what this manager did.

    Raises:
        UsageError: Something else was given in place of a configuration or of metrics.
        ConfigError: No configuration was given, and the environment's can't be used.
    """

    def cache(self, cache_type: str, *, namespace: str = "") -> Cache:
        """Return a view on one type, or on a namespace of it, by key alone.

        Raises:
            UsageError: There is no such type.
        """
        return Cache(self, cache_type, namespace)
