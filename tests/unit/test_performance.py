"""The performance monitor: what it keeps, how it judges, and what it tells to change."""

from __future__ import annotations

import json
import logging
import math
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from stoker.core import CacheConfig, UsageError
from stoker.core.entries.memory_store import MemoryStore
from stoker.core.performance import CachePerformanceMonitor
from stoker.core.performance.export import PerformanceCollector, export_prometheus
from stoker.core.performance.figures import slope
from stoker.core.settings.fields import find
from tests.pages import table, text_of

MB = 2**20


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock: Clock) -> CachePerformanceMonitor:
    return CachePerformanceMonitor(clock=clock)


def test_a_new_monitor_has_nothing_to_tell(monitor: CachePerformanceMonitor) -> None:
    summary = monitor.get_performance_summary()

    assert (summary.hits, summary.misses, summary.hit_ratio) == (0, 0, 0.0)
    assert summary.operations == {}
    assert summary.key_generation.timing.count == 0
    assert summary.compression.ratio == 1.0
    assert summary.utilization_percent == 0.0
    assert (summary.alerts, summary.recommendations) == ((), ())
    assert summary.retention_seconds == 3600


def test_operations_are_timed_by_name_and_reads_told_apart(monitor: CachePerformanceMonitor) -> None:
    for number in range(1, 101):
        monitor.record_operation("get", number / 10_000, hit=number % 4 != 0, length=100)
    monitor.record_operation("set", 0.05)

    summary = monitor.get_performance_summary()

    assert (summary.hits, summary.misses, summary.hit_ratio) == (75, 25, 0.75)
    assert monitor.hit_ratio == 0.75
    get = summary.operations["get"]
    assert get.count == 100
    assert get.mean_ms == pytest.approx(5.05)
    assert get.p50_ms == pytest.approx(5.05)
    assert get.p95_ms == pytest.approx(9.505)
    assert get.max_ms == pytest.approx(10)
    assert summary.operations["set"]["mean_ms"] == pytest.approx(50)


def test_key_times_are_set_against_the_lengths_of_texts(monitor: CachePerformanceMonitor) -> None:
    for length in range(1000, 11_000, 1000):
        monitor.record_key_generation(2e-6 + length * 3e-9, length, "small" if length < 5000 else "medium")

    keys = monitor.get_performance_summary().key_generation

    assert keys.microseconds_per_1000_characters == pytest.approx(3.0)
    assert keys.timing.count == 10
    assert {tier: timing.count for tier, timing in keys.by_tier.items()} == {"small": 4, "medium": 6}
    assert keys.by_tier["medium"].mean_ms > keys.by_tier["small"].mean_ms


@pytest.mark.parametrize(
    ("used", "level"),
    [(50 * MB - 1, "ok"), (50 * MB, "warning"), (100 * MB - 1, "warning"), (100 * MB, "critical")],
)
def test_memory_is_judged_by_its_bounds(monitor: CachePerformanceMonitor, used: int, level: str) -> None:
    monitor.record_memory(200 * MB)
    monitor.record_memory(used, 50, 100)

    summary = monitor.get_performance_summary()

    assert (summary.memory.level, summary.memory.bytes) == (level, used), "what was measured last counts"
    assert summary.utilization_percent == summary.memory.utilization_percent == 50
    found = [alert for alert in summary.alerts if alert.kind == "memory"]
    assert [alert.level for alert in found] == ([] if level == "ok" else [level])
    settings = [advice.setting for advice in summary.recommendations]
    assert ("memory.bytes" in settings) == (level != "ok")


def test_memory_is_looked_at_when_figures_are_asked_for(monitor: CachePerformanceMonitor) -> None:
    store = MemoryStore[str, str](200, 10 * MB)
    for number in range(50):
        store.put(str(number), "x", 1000)
    monitor.watch(store)
    monitor.watch(store)

    memory = monitor.get_performance_summary().memory

    assert (memory.bytes, memory.entries, memory.max_entries) == (store.bytes, 50, 200)
    assert memory.utilization_percent == 25


def test_memory_that_grows_is_seen(monitor: CachePerformanceMonitor, clock: Clock) -> None:
    for minute in range(10):
        monitor.record_memory(minute * MB)
        clock.now += 60

    assert monitor.get_performance_summary().memory.bytes_per_hour == pytest.approx(60 * MB)


def test_compression_is_added_up(monitor: CachePerformanceMonitor) -> None:
    monitor.record_compression(1000, 250, 0.001)
    monitor.record_compression(3000, 750, 0.003)

    compression = monitor.get_performance_summary().compression

    assert compression.ratio == 4
    assert compression.saved_bytes == 3000
    assert compression.timing.mean_ms == 2


@pytest.mark.parametrize(
    ("count", "level"), [(49, "ok"), (50, "warning"), (99, "warning"), (100, "critical")]
)
def test_invalidations_are_judged_by_the_hour(
    monitor: CachePerformanceMonitor, clock: Clock, count: int, level: str
) -> None:
    for number in range(count):
        monitor.record_invalidation(
            "sentiment", 2, 0.001, kind="pattern", context="batch" if number % 2 else "deploy"
        )

    found = monitor.get_performance_summary().invalidation

    assert (found.events, found.entries, found.last_hour, found.level) == (count, 2 * count, count, level)
    assert found.by_kind == {"pattern": count}
    assert found.by_context == {"deploy": count - count // 2, "batch": count // 2}
    alerts = [one for one in monitor.get_performance_summary().alerts if one.kind == "invalidations"]
    assert [one.level for one in alerts] == ([] if level == "ok" else [level])


def test_with_a_longer_retention_older_invalidations_are_kept_and_not_judged(clock: Clock) -> None:
    monitor = CachePerformanceMonitor(retention=7200, clock=clock)
    for _ in range(60):
        monitor.record_invalidation("all")
    clock.now += 3700

    found = monitor.get_performance_summary().invalidation

    assert (found.events, found.last_hour, found.level) == (60, 0, "ok")


def test_slow_operations_are_named_and_logged_once_a_minute(
    monitor: CachePerformanceMonitor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "stoker"):
        for number in range(15):
            monitor.record_operation("get", 0.2 + number / 100, hit=True, length=5000 + number)
        monitor.record_operation("get", 0.1, hit=True)

    summary = monitor.get_performance_summary()

    assert len(summary.slow_operations) == 10
    assert summary.slow_operations[0].milliseconds == pytest.approx(340)
    assert summary.slow_operations[0].length == 5014
    [alert] = summary.alerts
    assert (alert.kind, alert.text) == ("slow_operations", "get took 340 ms")
    assert len(caplog.records) == 1
    assert "action=slow_operation cache_type=ai_response operation=get seconds=0.200" in caplog.text


def test_what_is_old_is_forgotten(monitor: CachePerformanceMonitor, clock: Clock) -> None:
    monitor.record_operation("get", 0.001, hit=True)
    monitor.record_key_generation(0.001, 10)
    monitor.record_compression(10, 5, 0.001)
    monitor.record_memory(10)
    monitor.record_invalidation("x")
    clock.now += 1800
    monitor.record_operation("set", 0.001)
    assert monitor.kept == 6
    clock.now += 1801

    assert monitor.cleanup() == 5
    assert monitor.cleanup() == 0
    assert monitor.kept == 1
    summary = monitor.get_performance_summary()
    assert list(summary.operations) == ["set"]
    assert summary.hits == 1, "a ratio is of all reads since it began"


def test_asking_forgets_what_is_old_too(monitor: CachePerformanceMonitor, clock: Clock) -> None:
    monitor.record_operation("get", 0.001, hit=True)
    clock.now += 3601

    assert monitor.get_performance_summary().operations == {}
    assert monitor.kept == 0


def test_it_is_bounded(clock: Clock) -> None:
    monitor = CachePerformanceMonitor(max_samples=100, clock=clock)
    for number in range(1000):
        monitor.record_operation("get", number / 1e6, hit=True)
        monitor.record_key_generation(0.001, number)
        monitor.record_compression(10, 5, 0.001)
        monitor.record_memory(10)
        monitor.record_invalidation("x")

    assert monitor.kept == 500
    assert monitor.get_performance_summary().operations["get"].max_ms == pytest.approx(0.999), (
        "the newest stay"
    )


def test_trends_are_told(monitor: CachePerformanceMonitor, clock: Clock) -> None:
    for span in range(6):
        for number in range(10):
            monitor.record_operation("get", 0.001 * (span + 1), hit=number > span)
        clock.now += 599

    found = monitor.get_performance_summary().trends

    assert found["hit_ratio"].direction == "falling"
    assert found["hit_ratio"].spans == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert found["operation_ms"].direction == "rising"


def test_what_goes_on_as_before_is_steady(monitor: CachePerformanceMonitor, clock: Clock) -> None:
    for _ in range(3):
        monitor.record_operation("get", 0.001, hit=True)
        clock.now += 600

    found = monitor.get_performance_summary().trends

    assert {name: trend.direction for name, trend in found.items()} == {
        "hit_ratio": "steady",
        "operation_ms": "steady",
    }
    assert None in found["hit_ratio"].spans


def troubled() -> CachePerformanceMonitor:
    """A monitor of a cache that does everything wrong."""
    monitor = CachePerformanceMonitor("db_query", clock=Clock())
    for number in range(200):
        monitor.record_operation("get", 0.5, hit=number % 10 == 0)
        monitor.record_key_generation(0.02, 5_000_000, "large")
        monitor.record_compression(1000, 950, 0.02)
        monitor.record_invalidation("x", kind="pattern")
    monitor.record_memory(70 * MB, 10, 100)
    return monitor


def test_recommendations_name_settings_that_there_are() -> None:
    full = CachePerformanceMonitor("db_query", clock=Clock())
    full.record_memory(MB, 99, 100)
    advice = [
        *troubled().get_performance_summary().recommendations,
        *full.get_performance_summary().recommendations,
    ]

    settings = {one.setting for one in advice}
    assert settings == {
        "types.db_query.ttl",
        "types.db_query.compress_above",
        "types.db_query.compression_level",
        "redis.timeout",
        "memory.bytes",
        "memory.entries",
        "text_hash_threshold",
    }
    for setting in settings - {"text_hash_threshold"}:
        assert find(CacheConfig, tuple(setting.split("."))) is not None, setting
    assert all(len(one.text) > 20 for one in advice)


def test_a_cache_that_does_well_is_left_alone(monitor: CachePerformanceMonitor) -> None:
    for number in range(200):
        monitor.record_operation("get", 0.001, hit=number % 10 != 0)
        monitor.record_key_generation(0.000_01, 100, "small")
        monitor.record_compression(10_000, 3_000, 0.000_1)
    monitor.record_memory(MB, 10, 100)

    assert monitor.get_performance_summary().recommendations == ()


def test_few_reads_say_nothing_about_a_ratio(monitor: CachePerformanceMonitor) -> None:
    for _ in range(99):
        monitor.record_operation("get", 0.001, hit=False)
    assert monitor.get_performance_summary().recommendations == ()
    monitor.record_operation("get", 0.001, hit=False)
    [advice] = monitor.get_performance_summary().recommendations
    assert advice.setting == "types.ai_response.ttl"


def test_figures_are_exported_as_json() -> None:
    monitor = troubled()

    found = json.loads(monitor.export_json())

    assert found.keys() == json.loads(json.dumps(monitor.export_metrics())).keys()
    assert found["at"] == pytest.approx(time.time(), abs=600), "unix time, whatever clock tells ages"
    assert found["slow_operations"][0]["at"] == pytest.approx(time.time(), abs=600)
    assert found["hits"] == 20
    assert found["operations"]["get"]["count"] == 200
    assert found["memory"]["level"] == "warning"
    assert found["recommendations"][0]["setting"]


def samples(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_figures_are_exported_for_prometheus() -> None:
    monitor = troubled()
    found = samples(export_prometheus(monitor))

    assert found["stoker_monitor_hits_total", "db_query"] == 20
    assert found["stoker_monitor_misses_total", "db_query"] == 180
    assert found["stoker_monitor_hit_ratio", "db_query"] == 0.1
    assert found["stoker_monitor_memory_bytes", "db_query"] == 70 * MB
    assert found["stoker_monitor_memory_utilization_percent", "db_query"] == 10
    assert found["stoker_monitor_memory_level", "db_query"] == 1
    assert found["stoker_monitor_invalidation_level", "db_query"] == 2
    assert found["stoker_monitor_compression_ratio", "db_query"] == pytest.approx(1.0526, abs=1e-4)
    assert found["stoker_monitor_duration_seconds", "db_query,get,0.95"] == pytest.approx(0.5)
    assert found["stoker_monitor_duration_seconds", "db_query,make_key,0.5"] == pytest.approx(0.02)


def test_the_page_lists_every_metric_and_no_other() -> None:
    families: list[Any] = list(PerformanceCollector(troubled()).collect())
    found = {
        (family.name + "_total" * (family.type == "counter"), family.type, tuple(family._labelnames))
        for family in families
    }
    section = text_of("metrics.md").partition("## What a monitor shows")[2].partition("\n## ")[0]
    rows = table(section, "metric")

    assert {(row[0].strip("`"), row[1], tuple(row[2].replace("`", "").split(", "))) for row in rows} == found


def test_a_collector_reads_at_the_scrape(monitor: CachePerformanceMonitor) -> None:
    registry = CollectorRegistry()
    registry.register(PerformanceCollector(monitor))
    label = {"cache_type": "ai_response"}
    assert registry.get_sample_value("stoker_monitor_hits_total", label) == 0
    monitor.record_operation("get", 0.001, hit=True)
    assert registry.get_sample_value("stoker_monitor_hits_total", label) == 1


def test_it_can_be_reset(monitor: CachePerformanceMonitor) -> None:
    monitor.record_operation("get", 0.001, hit=True)
    monitor.reset_stats()

    assert monitor.kept == 0
    assert (monitor.hits, monitor.misses) == (0, 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retention": 0}, "retention is above 0"),
        ({"max_samples": 0}, "max_samples is above 0"),
        ({"slow_operation": -1}, "slow_operation is above 0"),
        ({"retention": math.nan}, "retention is above 0"),
        ({"retention": math.inf}, "retention is above 0 and at most 315360000"),
        ({"memory_warning_bytes": 200 * MB}, "memory_warning_bytes is above 0 and at most 104857600"),
        ({"invalidations_critical": 10}, "invalidations_warning is above 0 and at most 10"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        CachePerformanceMonitor(**options)


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == 2
    assert slope([(1, 1), (1, 5)]) == 0.0
    assert slope([(1, 1)]) == 0.0
    assert slope([]) == 0.0
