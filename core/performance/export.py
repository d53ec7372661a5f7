"""A monitor's figures for Prometheus: as a collector, or as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stoker.core.performance.figures import Timing
from stoker.core.performance.monitor import CachePerformanceMonitor
from stoker.core.performance.summary import PerformanceSummary

_LEVELS = ("ok", "warning", "critical")


class PerformanceCollector(Collector):
    """What a monitor knows, asked for at the scrape; register it with a `CollectorRegistry`."""

    def __init__(self, monitor: CachePerformanceMonitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterable[Metric]:
        """No names beforehand: registering must not read anything."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the families as they stand now."""
        summary, label = self._monitor.get_performance_summary(), (self._monitor.cache_type,)
        for name, text, count in (
            ("stoker_monitor_hits", "Reads that a monitored cache answered", summary.hits),
            ("stoker_monitor_misses", "Reads that it did not", summary.misses),
        ):
            counter = CounterMetricFamily(name, text, labels=("cache_type",))
            counter.add_metric(label, count)
            yield counter
        for name, text, value in _gauges(summary):
            gauge = GaugeMetricFamily(f"stoker_monitor_{name}", text, labels=("cache_type",))
            gauge.add_metric(label, value)
            yield gauge
        yield self._timings(summary)

    def _timings(self, summary: PerformanceSummary) -> Metric:
        family = GaugeMetricFamily(
            "stoker_monitor_duration_seconds",
            "Durations within the time that is kept, by operation and quantile",
            labels=("cache_type", "operation", "quantile"),
        )
        timings: dict[str, Timing] = {
            **summary.operations,
            "make_key": summary.key_generation.timing,
            "compress": summary.compression.timing,
        }
        for operation, timing in timings.items():
            for quantile, value in (
                ("0.5", timing.p50_ms),
                ("0.95", timing.p95_ms),
                ("0.99", timing.p99_ms),
            ):
                family.add_metric((self._monitor.cache_type, operation, quantile), value / 1000)
        return family


def _gauges(summary: PerformanceSummary) -> Iterator[tuple[str, str, float]]:
    memory, compression, invalidation = summary.memory, summary.compression, summary.invalidation
    yield "hit_ratio", "Share of hits, 0 to 1", summary.hit_ratio
    yield "memory_bytes", "Bytes that memory holds", memory.bytes
    yield "memory_utilization_percent", "How full memory is", memory.utilization_percent
    yield "memory_level", "0: as it should be, 1: warning, 2: critical", _LEVELS.index(memory.level)
    yield "compression_ratio", "Bytes before compression to bytes after", compression.ratio
    yield "invalidations_last_hour", "Invalidations within the last hour", invalidation.last_hour
    yield "invalidation_level", "0, 1 (warning) or 2 (critical)", _LEVELS.index(invalidation.level)
    yield "slow_operations", "Slow operations that are kept, ten at most", len(summary.slow_operations)


def export_prometheus(monitor: CachePerformanceMonitor) -> str:
    """Return a monitor's figures as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(PerformanceCollector(monitor))
    return generate_latest(registry).decode()
