"""The performance monitor: thresholds whatever is kept, ages whatever the clock does, several monitors."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stoker.core import UsageError
from stoker.core.performance import CachePerformanceMonitor
from stoker.core.performance.export import PerformanceCollector
from stoker.core.performance.samples import HourlyCount


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "options", [{"max_samples": 50}, {"retention": 60}, {"max_samples": 1, "retention": 1}]
)
def test_invalidations_of_the_hour_are_counted_whatever_is_kept(options: dict[str, Any]) -> None:
    clock = Clock()
    monitor = CachePerformanceMonitor(clock=clock, **options)
    for _ in range(1000):
        monitor.record_invalidation("x")
        clock.now += 3
    found = monitor.get_performance_summary().invalidation
    assert (found.last_hour, found.level) == (1000, "critical")
    clock.now += 7200
    found = monitor.get_performance_summary().invalidation
    assert (found.last_hour, found.level) == (0, "ok")
    monitor.record_invalidation("x")
    monitor.reset_stats()
    assert monitor.get_performance_summary().invalidation.last_hour == 0


def test_a_count_of_an_hour_is_bounded() -> None:
    count = HourlyCount()
    for second in range(0, 100_000, 10):
        count.add(float(second))
    assert 360 <= count.within_an_hour(99_990.0) <= 366, "ten in a hundred seconds; to the minute"
    assert len(count._minutes) <= 61


def test_a_wall_clock_that_is_set_back_or_ahead_changes_no_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = CachePerformanceMonitor()
    monitor.record_operation("get", 0.5, hit=True)
    for shift in (-86_400, 86_400):
        there = time.time() + shift
        monkeypatch.setattr(time, "time", lambda there=there: there)
        summary = monitor.get_performance_summary()
        assert summary.operations["get"].count == 1
        assert summary.at == there
        monkeypatch.undo()


def test_when_a_slow_operation_was_is_told_in_unix_time() -> None:
    clock = Clock()
    monitor = CachePerformanceMonitor(clock=clock)
    monitor.record_operation("get", 0.5)
    clock.now += 100
    summary = monitor.get_performance_summary()
    assert summary.slow_operations[0].at == pytest.approx(summary.at - 100, abs=1)


def test_a_registry_takes_one_collector_with_all_monitors() -> None:
    monitors = [CachePerformanceMonitor(name) for name in ("a", "b")]
    monitors[0].record_operation("get", 0.001, hit=True)
    registry = CollectorRegistry()
    registry.register(PerformanceCollector(*monitors))
    with pytest.raises(ValueError, match="stoker_monitor_hits"):
        registry.register(PerformanceCollector(CachePerformanceMonitor("c")))
    text = generate_latest(registry).decode()
    assert text.count("# TYPE stoker_monitor_hits_total ") == 1
    found = {
        sample.labels["cache_type"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "stoker_monitor_hits_total"
    }
    assert found == {"a": 1, "b": 0}


def test_two_monitors_of_one_type_are_refused() -> None:
    with pytest.raises(UsageError, match="two monitors are of type 'a'"):
        PerformanceCollector(CachePerformanceMonitor("a"), CachePerformanceMonitor("a"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retention": "1h"}, "retention is above 0 and at most 315360000.0, not '1h'"),
        ({"slow_operation": float("nan")}, "slow_operation is above 0"),
        ({"max_samples": 1.5}, "max_samples is a whole number"),
        ({"memory_warning_bytes": "50MB"}, "memory_warning_bytes is above 0"),
        ({"memory_critical_bytes": "100MB"}, "memory_critical_bytes is above 0"),
        ({"invalidations_critical": None}, "invalidations_critical is above 0"),
    ],
)
def test_bounds_of_another_kind_are_refused_by_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        CachePerformanceMonitor(**options)


def test_monitors_are_asked_by_other_threads_while_they_are_told() -> None:
    seconds = count(step=10)
    monitor = CachePerformanceMonitor(retention=30.0, max_samples=50, clock=lambda: next(seconds))
    usual = sys.getswitchinterval()
    try:
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(2) as threads:
            asking = [threads.submit(ask_often, monitor) for _ in range(2)]
            while not all(asked.done() for asked in asking):
                monitor.record_operation("get", 0.001, hits=1)
                monitor.record_invalidation("what", 1)
            for asked in asking:
                asked.result()
    finally:
        sys.setswitchinterval(usual)


def ask_often(monitor: CachePerformanceMonitor) -> None:
    for _ in range(1_000):
        monitor.get_performance_summary()
