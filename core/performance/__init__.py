"""How a cache does: what it is told by the cache, for an hour, and what should be changed."""

from stoker.core.performance.export import PerformanceCollector, export_prometheus
from stoker.core.performance.monitor import CachePerformanceMonitor
from stoker.core.performance.summary import Alert, PerformanceSummary, Recommendation

__all__ = [
    "Alert",
    "CachePerformanceMonitor",
    "PerformanceCollector",
    "PerformanceSummary",
    "Recommendation",
    "export_prometheus",
]
