"""Metrics for Prometheus: of this process, and of the whole fleet.

Nothing is counted here. `ProcessCollector` reads plain integers when it is scraped, `fleet_metrics` reads
Redis. Labels are types, windows, components and a few fixed words: how many series there are never depends on
keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stoker.core.clock import boottime
from stoker.core.counters import DURATION_BOUNDS, TypeCounters
from stoker.core.errors import LinkError, ReplyError
from stoker.core.maintenance.heartbeat import processes
from stoker.core.maintenance.sizes import stored_sizes
from stoker.core.warming.pauses import paused
from stoker.core.warming.rates import HEADLINE_WINDOW, stored_hit_rates
from stoker.core.warming.runs import read_list, totals

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager
    from stoker.core.parts import Parts

logger = logging.getLogger(__name__)

#: Metric name, counter, help. All of them have the label `cache_type`.
_BY_TYPE = (
    ("cache_hits", "hits", "Reads that were answered from the cache, as the caller saw them"),
    ("cache_misses", "misses", "Reads that were not, as the caller saw them"),
    ("stoker_memory_hits", "memory_hits", "Hits in this process's memory"),
    (
        "stoker_stale_hits",
        "stale_hits",
        "Hits on entries past their TTL, served while they were loaded again",
    ),
    ("stoker_negative_hits", "negative_hits", "Hits on a stored None"),
    ("stoker_dead_entries_met", "dead", "Misses on entries that an invalidation had killed"),
    ("stoker_undecodable_entries_met", "undecodable", "Misses on stored bytes that are no entry"),
    (
        "stoker_unreadable_entries_unlinked",
        "unreadable_unlinked",
        "Stored bytes that nobody could read, and that were unlinked",
    ),
    ("stoker_unreachable_misses", "unreachable", "Misses because the server did not answer"),
    ("stoker_sets", "sets", "Entries that were stored"),
    (
        "stoker_sets_refused",
        "sets_refused",
        "Entries that were not stored: an invalidation had overtaken them",
    ),
    ("stoker_unstorable_values", "unstorable", "Values that can't be stored: no such type, or too large"),
    ("stoker_deletes", "deletes", "Entries that were deleted"),
    ("stoker_loads_joined", "loads_joined", "Reads that waited for another's load"),
    ("stoker_load_failures", "load_failures", "Loads that failed"),
    ("stoker_loads_not_modified", "not_modified", "Loads that kept what was stored"),
    ("stoker_loads_throttled", "throttled", "Loads not tried again so soon after one that failed"),
    ("stoker_early_refreshes", "early_refreshes", "Loads that began behind a fresh answer"),
    ("stoker_fail_safe_serves", "fail_safe_serves", "Stale hits for want of anything newer"),
    ("stoker_soft_timeouts", "soft_timeouts", "Reads that would not wait for their load any longer"),
    ("stoker_leases_won", "leases_won", "Leases that loads of this process got"),
    ("stoker_leases_waited", "leases_waited", "Loads that waited for another process's"),
    (
        "stoker_leases_taken_over",
        "leases_taken_over",
        "Leases taken from processes whose load an invalidation had overtaken",
    ),
)

T = TypeVar("T")


class ProcessCollector(Collector):
    """What one manager of this process did; register it with a `CollectorRegistry`.

    `CacheMetrics` shows the same of all managers that it is given to, and rates and sizes beside. A registry
    takes one of either: a second one it refuses with a ValueError that names the metrics that it has.
    """

    def __init__(self, manager: CacheManager) -> None:
        self._manager = manager

    def describe(self) -> Iterable[Metric]:
        """The names alone, so that a registry refuses them twice; nothing is read."""
        yield from by_type({})
        yield from of_links([])
        yield from of_memories([])

    def collect(self) -> Iterator[Metric]:
        """Yield the families as they stand now."""
        yield from by_type(dict(self._manager.counters.types))
        yield from of_links([self._manager])
        yield from of_memories([self._manager])


def by_type(types: Mapping[str, TypeCounters]) -> Iterator[Metric]:
    """What was counted, as families with a series for each type."""
    for name, counter, text in _BY_TYPE:
        family = CounterMetricFamily(name, text, labels=("cache_type",))
        for cache_type, counters in types.items():
            family.add_metric((cache_type,), getattr(counters, counter))
        yield family
    loads = CounterMetricFamily("stoker_loads", "Calls of loaders", labels=("cache_type", "origin"))
    for cache_type, counters in types.items():
        loads.add_metric((cache_type, "read"), max(counters.loads - counters.warm_loads, 0))
        loads.add_metric((cache_type, "warm"), counters.warm_loads)
    yield loads
    yield _durations(types)


def of_links(managers: Iterable[Parts]) -> Iterator[Metric]:
    """The connections, and what is known of the logs behind them."""
    ready, timeouts, kept, ages = list[bool](), 0, 0, list[float]()
    for manager in managers:
        link, log = manager.link, manager.log
        timeouts, kept = timeouts + link.timeouts, kept + len(log.kept)
        if manager.config.redis.enabled:
            ready.append(link.ready)
        if log.last_proved > 0:
            ages.append(max(boottime() - log.last_proved, 0.0))
    up = GaugeMetricFamily("stoker_link_up", "Whether the server answers this process")
    if ready:  # of caches in memory alone there is nothing to say
        up.add_metric((), int(all(ready)))
    yield up
    yield CounterMetricFamily("stoker_link_timeouts", "Times the server owed replies too long", timeouts)
    yield GaugeMetricFamily(
        "stoker_kept_scopes", "Invalidated scopes that the server could not take yet", kept
    )
    if ages:
        yield GaugeMetricFamily(
            "stoker_log_age_seconds",
            "Seconds since the last look at the log that was answered in full",
            max(ages),
        )


def of_memories(managers: Iterable[Parts]) -> Iterator[Metric]:
    """The memory tiers together; empty where no type has one."""
    stores = [manager.memory.store for manager in managers]
    entries, size = sum(len(store) for store in stores), sum(store.bytes for store in stores)
    yield GaugeMetricFamily("stoker_memory_entries", "Entries in this process's memory", entries)
    yield GaugeMetricFamily("stoker_memory_bytes", "Bytes that they take", size)
    yield CounterMetricFamily(
        "stoker_memory_evictions",
        "Entries that made room for others",
        sum(store.evictions for store in stores),
    )


def _durations(types: Mapping[str, TypeCounters]) -> Metric:
    """Sampled durations of operations, as histograms."""
    family = HistogramMetricFamily(
        "cache_operation_duration_seconds",
        "Durations of a sample of operations",
        labels=("cache_type", "tier", "operation"),
    )
    for cache_type, counters in types.items():
        for operation, durations in counters.durations.items():
            tier = "loader" if operation == "load" else "redis"
            family.add_metric(
                (cache_type, tier, operation), _cumulative(durations.buckets), sum_value=durations.total
            )
    return family


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    """Return a histogram's buckets as Prometheus wants them: each with all below it."""
    bounds = [*(str(bound) for bound in DURATION_BOUNDS), "+Inf"]
    found: list[tuple[str, float]] = []
    count = 0
    for bound, number in zip(bounds, list(buckets), strict=True):
        count += number
        found.append((bound, count))
    return found


async def fleet_metrics(manager: CacheManager, *, group: str = "stoker") -> list[Metric]:
    """Return what Redis knows of the fleet.

    What can't be read is left out: `stoker_fleet_up` says whether everything could be.

    Args:
        manager: The cache; its configuration names the types.
        group: The consumer group of the event stream.
    """
    up = GaugeMetricFamily("stoker_fleet_up", "Whether the fleet's state could be read from the server")
    answers = await asyncio.gather(
        _rates(manager),
        _sizes(manager),
        _warming(manager),
        _streams(manager, group),
        _processes(manager),
        return_exceptions=True,
    )
    found: list[Metric] = []
    for answer in answers:
        if isinstance(answer, LinkError | ReplyError):
            continue
        if isinstance(answer, BaseException):
            raise answer
        found += answer
    up.add_metric((), int(not any(isinstance(answer, BaseException) for answer in answers)))
    return [up, *found]


async def _rates(manager: CacheManager) -> list[Metric]:
    headline = GaugeMetricFamily(
        "cache_hit_rate", "Share of hits over five minutes, 0 to 1", labels=("cache_type",)
    )
    windows = GaugeMetricFamily(
        "stoker_hit_rate", "Share of hits over a window (seconds), 0 to 1", labels=("cache_type", "window")
    )
    for rate in await stored_hit_rates(manager):
        windows.add_metric((rate.cache_type, str(rate.window)), rate.rate)
        if rate.window == HEADLINE_WINDOW:
            headline.add_metric((rate.cache_type,), rate.rate)
    return [headline, windows]


async def _sizes(manager: CacheManager) -> list[Metric]:
    family = GaugeMetricFamily("cache_size_keys", "Entries stored, as last counted", labels=("cache_type",))
    sizes = await stored_sizes(manager)
    if sizes is not None:
        for cache_type in manager.config.types:
            family.add_metric((cache_type,), sizes.of(cache_type))
    return [family]


async def _warming(manager: CacheManager) -> list[Metric]:
    runs = CounterMetricFamily(
        "stoker_warm_runs", "Warm runs by how they ended", labels=("cache_type", "status")
    )
    keys = CounterMetricFamily(
        "stoker_warm_keys",
        "Keys that were due to be warmed, by what became of them",
        labels=("cache_type", "outcome"),
    )
    for field, amount in (await totals(manager, "warm")).items():
        cache_type, _, name = field.partition("|")
        if cache_type not in manager.config.types:
            continue
        if name.startswith("runs "):
            runs.add_metric((cache_type, name.removeprefix("runs ")), amount)
        else:
            keys.add_metric((cache_type, name), amount)
    pauses = GaugeMetricFamily("stoker_warming_paused", "Whether warming is paused", labels=("cache_type",))
    with contextlib.suppress(ReplyError):  # something else stands where pauses are: the rest goes on
        stopped = await paused(manager)
        for cache_type in manager.config.types:
            pauses.add_metric((cache_type,), int(cache_type in stopped))
    return [runs, keys, pauses]


async def _streams(manager: CacheManager, group: str) -> list[Metric]:
    """Lengths of the streams, and how far the consumers are behind."""
    keys = manager.keys
    log, events, dead, groups = await manager.link.calls(
        [
            ("XLEN", keys.log),
            ("XLEN", keys.events),
            ("XLEN", keys.dead_events),
            ("XINFO", "GROUPS", keys.events),
        ]
    )
    found: list[Metric] = []
    for name, text, length in (
        ("stoker_log_records", "Records in the invalidation log", log),
        ("stoker_events_stored", "Events in the stream, applied ones included", events),
        ("stoker_events_dead", "Events that could not be read and stand on the dead stream", dead),
    ):
        if isinstance(length, int):
            found.append(GaugeMetricFamily(name, text, length))
    ours = _group(groups, group)
    for name, text, field in (
        ("stoker_events_lag", "Events that no consumer has been given yet", "lag"),
        ("stoker_events_pending", "Events that consumers were given and have not acknowledged", "pending"),
        ("stoker_events_consumers", "Consumers of the event stream", "consumers"),
    ):
        if isinstance(ours.get(field), int):
            found.append(GaugeMetricFamily(name, text, ours[field]))
    return found


def _group(reply: Any, group: str) -> dict[str, Any]:
    """Return the fields of one consumer group from an XINFO GROUPS; none if there is no such group."""
    for row in read_list(reply):
        fields = dict(zip((bytes(name).decode() for name in row[::2]), row[1::2], strict=False))
        if fields.get("name") == group.encode():
            return fields
    return {}


async def _processes(manager: CacheManager) -> list[Metric]:
    family = GaugeMetricFamily("stoker_processes", "Processes alive", labels=("component",))
    alive = [info for info in await processes(manager) if info.alive]
    for component, count in Counter(info.component for info in alive).items():
        family.add_metric((component,), count)
    leads = any(info.component == "beat" and info.fields.get("leader") == "1" for info in alive)
    leader = GaugeMetricFamily(
        "stoker_beat_leader", "Whether a beat leads, and sends what is due", int(leads)
    )
    return [family, leader]
