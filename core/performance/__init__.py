"""How a cache does: what it is told by the cache, for an hour, and what should be changed.

`stoker.core.performance.export` has the figures for Prometheus; it needs that client.
"""

from stoker.core.performance.monitor import CachePerformanceMonitor
from stoker.core.performance.summary import Alert, PerformanceSummary, Recommendation

__all__ = [
    "Alert",
    "CachePerformanceMonitor",
    "PerformanceSummary",
    "Recommendation",
]
