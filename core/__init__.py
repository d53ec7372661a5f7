"""The cache library: typed caches over Redis, honest under invalidation.

The names below are its interface; the modules are its rooms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stoker.core.decorators.arguments import generate_cache_key, hash_key
from stoker.core.decorators.cached import cached
from stoker.core.decorators.cached_function import CachedFunction, SyncCachedFunction
from stoker.core.decorators.default_cache import close_default_cache, get_default_cache, init_default_cache
from stoker.core.decorators.on_write import invalidate_on_write
from stoker.core.errors import (
    ConfigError,
    EventError,
    StokerError,
    UnknownLoaderError,
    UsageError,
)
from stoker.core.events import Event, make_event, publish
from stoker.core.interface import CacheInterface
from stoker.core.keys import glob_escape
from stoker.core.loading.conditional import NOT_MODIFIED, NotModified, Previous, previous
from stoker.core.loading.loaders import import_loaders, loader
from stoker.core.loading.serving import Reading
from stoker.core.log.fleet_log import Receipt
from stoker.core.log.scopes import Everything, Key, Pattern, Scope, Tag, Type
from stoker.core.manager import CacheManager
from stoker.core.marks import Token
from stoker.core.metrics.stats import CacheStats
from stoker.core.old_entries import OldEntries, OldEntry
from stoker.core.performance import CachePerformanceMonitor, PerformanceSummary
from stoker.core.recipe import Recipe
from stoker.core.responses import (
    AIResponseCache,
    ChatMessage,
    GenerationRequest,
    GenerationResponse,
    MetricsOfPeriod,
    RequestMetric,
    RequestMetrics,
    RequestTotals,
    ResponseCache,
    ResponseMetadata,
    request_key,
)
from stoker.core.settings.config import CacheConfig, load_config
from stoker.core.settings.policy import Policy, WarmPolicy
from stoker.core.stores import InMemoryCache, MemoryCache, MultiLayerCache, RedisCache
from stoker.core.sync.manager import SyncCacheManager
from stoker.core.sync.view import SyncCache
from stoker.core.view import Cache
from stoker.core.vocabulary import CacheBackend, CacheType

if TYPE_CHECKING:
    from stoker.core.metrics.cache_metrics import CacheMetrics
    from stoker.core.performance.export import PerformanceCollector, export_prometheus

__all__ = [
    "NOT_MODIFIED",
    "AIResponseCache",
    "Cache",
    "CacheBackend",
    "CacheConfig",
    "CacheInterface",
    "CacheManager",
    "CacheMetrics",
    "CachePerformanceMonitor",
    "CacheStats",
    "CacheType",
    "CachedFunction",
    "ChatMessage",
    "ConfigError",
    "Event",
    "EventError",
    "Everything",
    "GenerationRequest",
    "GenerationResponse",
    "InMemoryCache",
    "Key",
    "MemoryCache",
    "MetricsOfPeriod",
    "MultiLayerCache",
    "NotModified",
    "OldEntries",
    "OldEntry",
    "Pattern",
    "PerformanceCollector",
    "PerformanceSummary",
    "Policy",
    "Previous",
    "Reading",
    "Receipt",
    "Recipe",
    "RedisCache",
    "RequestMetric",
    "RequestMetrics",
    "RequestTotals",
    "ResponseCache",
    "ResponseMetadata",
    "Scope",
    "StokerError",
    "SyncCache",
    "SyncCacheManager",
    "SyncCachedFunction",
    "Tag",
    "Token",
    "Type",
    "UnknownLoaderError",
    "UsageError",
    "WarmPolicy",
    "cached",
    "close_default_cache",
    "export_prometheus",
    "generate_cache_key",
    "get_default_cache",
    "glob_escape",
    "hash_key",
    "import_loaders",
    "init_default_cache",
    "invalidate_on_write",
    "load_config",
    "loader",
    "make_event",
    "previous",
    "publish",
    "request_key",
]


if not TYPE_CHECKING:  # type checkers know the names above, and no others

    def __getattr__(name: str) -> Any:
        """Import what needs the client of Prometheus when it is asked for."""
        if name == "CacheMetrics":
            from stoker.core.metrics.cache_metrics import CacheMetrics  # noqa: PLC0415  that is the point

            return CacheMetrics
        if name in {"PerformanceCollector", "export_prometheus"}:
            from stoker.core.performance import export  # noqa: PLC0415  and here

            return getattr(export, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
