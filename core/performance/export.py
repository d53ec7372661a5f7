"""Monitors' figures for Prometheus: as a collector, or as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stoker.core.errors import UsageError
from stoker.core.performance.figures import Timing
from stoker.core.performance.monitor import CachePerformanceMonitor
from stoker.core.performance.summary import PerformanceSummary

_LEVELS = ("ok", "warning", "critical")


class PerformanceCollector(Collector):
    """What monitors know, asked for at the scrape; register it with a `CollectorRegistry`.

    A registry takes one collector: make it of all monitors.

    Args:
        *monitors: The monitors, each of another type.

    Raises:
        UsageError: Two monitors are of one type, whose figures nobody could tell apart.
    """

    def __init__(self, *monitors: CachePerformanceMonitor) -> None:
        types = [monitor.cache_type for monitor in monitors]
        twice = next((name for name in types if types.count(name) > 1), None)
        if twice is not None:
            raise UsageError(
                f"two monitors are of type {twice!r}: give their caches one, or each its cache_type"
            )
        self._monitors = monitors

    def describe(self) -> Iterable[Metric]:
        """The families' names: a registry refuses a second collector, instead of telling each name twice."""
        return _families([])

    def collect(self) -> Iterator[Metric]:
        """Yield the families as they stand now."""
        return _families(
            [(one.cache_type, one.get_performance_summary()) for one in dict.fromkeys(self._monitors)]
        )


def _families(summaries: Sequence[tuple[str, PerformanceSummary]]) -> Iterator[Metric]:
    """Yield each family once, with what all monitors say of it, each by its type."""
    for name, text, count_of in _COUNTERS:
        counter = CounterMetricFamily(f"stoker_monitor_{name}", text, labels=("cache_type",))
        for cache_type, summary in summaries:
            counter.add_metric((cache_type,), count_of(summary))
        yield counter
    for name, text, value_of in _GAUGES:
        gauge = GaugeMetricFamily(f"stoker_monitor_{name}", text, labels=("cache_type",))
        for cache_type, summary in summaries:
            gauge.add_metric((cache_type,), value_of(summary))
        yield gauge
    family = GaugeMetricFamily(
        "stoker_monitor_duration_seconds",
        "Durations within the time that is kept, by operation and quantile",
        labels=("cache_type", "operation", "quantile"),
    )
    for cache_type, summary in summaries:
        for operation, timing in _timings(summary).items():
            for quantile, value in (
                ("0.5", timing.p50_ms),
                ("0.95", timing.p95_ms),
                ("0.99", timing.p99_ms),
            ):
                family.add_metric((cache_type, operation, quantile), value / 1000)
    yield family


def _timings(summary: PerformanceSummary) -> dict[str, Timing]:
    return {
        **summary.operations,
        "make_key": summary.key_generation.timing,
        "compress": summary.compression.timing,
    }


_Figure = tuple[str, str, Callable[[PerformanceSummary], float]]

_COUNTERS: tuple[_Figure, ...] = (
    ("hits", "Reads that a monitored cache answered", lambda summary: summary.hits),
    ("misses", "Reads that it did not", lambda summary: summary.misses),
)

_GAUGES: tuple[_Figure, ...] = (
    ("hit_ratio", "Share of hits, 0 to 1", lambda summary: summary.hit_ratio),
    ("memory_bytes", "Bytes that memory holds", lambda summary: summary.memory.bytes),
    (
        "memory_utilization_percent",
        "How full memory is",
        lambda summary: summary.memory.utilization_percent,
    ),
    (
        "memory_level",
        "0: as it should be, 1: warning, 2: critical",
        lambda summary: _LEVELS.index(summary.memory.level),
    ),
    (
        "compression_ratio",
        "Bytes before compression to bytes after",
        lambda summary: summary.compression.ratio,
    ),
    (
        "invalidations_last_hour",
        "Invalidations within the last hour",
        lambda summary: summary.invalidation.last_hour,
    ),
    (
        "invalidation_level",
        "0, 1 (warning) or 2 (critical)",
        lambda summary: _LEVELS.index(summary.invalidation.level),
    ),
    (
        "slow_operations",
        "Slow operations that are kept, ten at most",
        lambda summary: len(summary.slow_operations),
    ),
)


def export_prometheus(monitor: CachePerformanceMonitor) -> str:
    """Return a monitor's figures as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(PerformanceCollector(monitor))
    return generate_latest(registry).decode()
