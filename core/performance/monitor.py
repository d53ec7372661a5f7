"""`CachePerformanceMonitor`: how a cache does, from what it is told, for an hour."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

import msgspec

from stoker.core.clock import boottime
from stoker.core.entries.memory_store import MemoryStore
from stoker.core.errors import UsageError
from stoker.core.performance.advice import alerts, recommendations, setting_names
from stoker.core.performance.figures import (
    CompressionFigures,
    InvalidationFigures,
    KeyFigures,
    MemoryFigures,
    Timing,
    trends,
)
from stoker.core.performance.samples import (
    Compression,
    HourlyCount,
    Invalidation,
    KeyMade,
    MemoryUse,
    Operation,
    Series,
)
from stoker.core.performance.summary import PerformanceSummary, SlowOperation

logger = logging.getLogger(__name__)

#: Slow operations that a summary names.
SLOWEST = 10

#: A monitor keeps nothing for longer: ten years.
MAX_RETENTION_SECONDS = 315_360_000.0

#: Slow operations are logged at most so often, in seconds.
LOG_EVERY_SECONDS = 60.0


class CachePerformanceMonitor:
    """Keeps what a cache tells it for a while, and says how the cache does and what to change.

    To tell it something costs an append; all figures are made when they are asked for. What it keeps is
    bounded in number and in age.

    Args:
        cache_type: The type whose settings its recommendations name.
        retention: Seconds that it keeps what it is told; ten years at most.
        max_samples: Samples of each kind that it keeps, the newest.
        memory_warning_bytes: Memory that calls for a warning,
        memory_critical_bytes: and that is too much.
        slow_operation: Seconds that an operation may take.
        invalidations_warning: Invalidations within an hour that call for a warning,
        invalidations_critical: and that are too many.
        clock: Tells seconds, and is never set back: ages are told by it.

    Raises:
        UsageError: A bound is not above 0, or too high, or a warning comes after what it warns of.
    """

    def __init__(
        self,
        cache_type: str = "ai_response",
        *,
        retention: float = 3600.0,
        max_samples: int = 10_000,
        memory_warning_bytes: int = 50 * 2**20,
        memory_critical_bytes: int = 100 * 2**20,
        slow_operation: float = 0.1,
        invalidations_warning: int = 50,
        invalidations_critical: int = 100,
        clock: Callable[[], float] = boottime,
    ) -> None:
        _check("retention", retention, MAX_RETENTION_SECONDS)
        _check("max_samples", max_samples)
        if not isinstance(max_samples, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"max_samples is a whole number, not {max_samples!r}")
        _check("slow_operation", slow_operation)
        _check("memory_critical_bytes", memory_critical_bytes)
        _check("memory_warning_bytes", memory_warning_bytes, memory_critical_bytes)
        _check("invalidations_critical", invalidations_critical)
        _check("invalidations_warning", invalidations_warning, invalidations_critical)
        self.cache_type = cache_type
        self._settings = setting_names(cache_type)
        self.retention = retention
        self._memory_bounds = memory_warning_bytes, memory_critical_bytes
        self._invalidation_bounds = invalidations_warning, invalidations_critical
        self.slow_operation = slow_operation
        self._clock = clock
        self._keys = Series[KeyMade](max_samples, retention)
        self._operations = Series[Operation](max_samples, retention)
        self._compressions = Series[Compression](max_samples, retention)
        self._memory = Series[MemoryUse](max_samples, retention)
        self._invalidations = Series[Invalidation](max_samples, retention)
        self._invalidated = HourlyCount()
        self._stores = WeakSet[MemoryStore[Any, Any]]()
        self._logged = -math.inf
        self.hits = 0
        """Reads that were hits since it began, or was reset."""
        self.misses = 0

    # -- to be told -------------------------------------------------------------------------------

    def record_key_generation(self, seconds: float, length: int, tier: str = "") -> None:
        """A key was made of a text of `length` characters, whose size is called `tier`."""
        self._keys.add(KeyMade(self._clock(), seconds, length, tier))

    def record_operation(
        self,
        name: str,
        seconds: float,
        *,
        hit: bool | None = None,
        hits: int = 0,
        misses: int = 0,
        length: int = 0,
    ) -> None:
        """The cache was asked something; `hit` says what came of a read, `hits` and `misses` of several."""
        if hit is not None:
            hits, misses = hits + hit, misses + (not hit)
        self.record_reads(hits, misses)
        self._operations.add(Operation(self._clock(), name, seconds, hits, misses, length))
        if seconds > self.slow_operation:
            self._log_slow(name, seconds, length)

    def record_miss(self) -> None:
        """A read was a miss, and waited for what was missing: its time says nothing of the cache."""
        self.misses += 1

    def record_reads(self, hits: int, misses: int) -> None:
        """Reads were hits and misses, and their times say nothing of the cache."""
        self.hits += hits
        self.misses += misses

    def record_compression(self, before: int, after: int, seconds: float) -> None:
        """A value of `before` bytes was compressed to `after`."""
        self._compressions.add(Compression(self._clock(), before, after, seconds))

    def record_memory(self, used: int, entries: int = 0, max_entries: int = 0) -> None:
        """Memory holds `used` bytes."""
        self._memory.add(MemoryUse(self._clock(), used, entries, max_entries))

    def record_invalidation(
        self, what: str, count: int = 0, seconds: float = 0.0, *, kind: str = "", context: str = ""
    ) -> None:
        """Entries were invalidated: which, how many (where that is known), how, and why."""
        now = self._clock()
        self._invalidations.add(Invalidation(now, what, count, seconds, kind, context))
        self._invalidated.add(now)

    def name_settings(self, names: Mapping[str, str]) -> None:
        """Call settings in recommendations as the cache does that has them: `ttl` its `operation_ttls`."""
        self._settings.update(names)

    def watch(self, store: MemoryStore[Any, Any]) -> None:
        """Look at a memory whenever figures are asked for, as long as somebody has it."""
        self._stores.add(store)

    def forget(self, store: MemoryStore[Any, Any]) -> None:
        """Look at a memory no longer: its cache is closed."""
        self._stores.discard(store)

    def _log_slow(self, name: str, seconds: float, length: int) -> None:
        now = time.monotonic()
        if now - self._logged >= LOG_EVERY_SECONDS:
            self._logged = now
            logger.warning(
                "action=slow_operation cache_type=%s operation=%s seconds=%.3f length=%d",
                self.cache_type,
                name,
                seconds,
                length,
                extra={"action": "slow_operation"},
            )

    # -- to be asked ------------------------------------------------------------------------------

    @property
    def hit_ratio(self) -> float:
        """Share of hits, 0 to 1; 0.0 without reads."""
        return self.hits / ((self.hits + self.misses) or 1)

    def get_performance_summary(self) -> PerformanceSummary:
        """Return all figures, what is wrong, and what to change."""
        self._look_at_memory()
        now = self._clock()
        operations = self._operations.since(now)
        invalidations = self._invalidations.since(now)
        recent = self._invalidated.within_an_hour(now)
        summary = PerformanceSummary(
            at=time.time(),
            retention_seconds=self.retention,
            hits=self.hits,
            misses=self.misses,
            hit_ratio=self.hit_ratio,
            key_generation=KeyFigures.of(self._keys.since(now)),
            operations=_by_name(operations),
            memory=MemoryFigures.of(self._memory.since(now), *self._memory_bounds),
            compression=CompressionFigures.of(self._compressions.since(now)),
            invalidation=InvalidationFigures.of(invalidations, recent, *self._invalidation_bounds),
            slow_operations=self._slowest(operations, time.time() - now),
            trends=trends(operations, now, self.retention),
        )
        return msgspec.structs.replace(
            summary,
            alerts=tuple(alerts(summary)),
            recommendations=tuple(recommendations(summary, self._settings)),
        )

    def _look_at_memory(self) -> None:
        stores = list(self._stores)
        if stores:
            self.record_memory(
                sum(store.bytes for store in stores),
                sum(len(store) for store in stores),
                sum(store.max_entries for store in stores),
            )

    def _slowest(self, operations: Sequence[Operation], shift: float) -> list[SlowOperation]:
        """The slowest operations; `shift` makes a unix time of one by the monitor's clock."""
        slow = sorted((one for one in operations if one.seconds > self.slow_operation), key=_seconds)
        slow = slow[: -SLOWEST - 1 : -1]
        return [SlowOperation(one.name, one.seconds * 1000, one.length, one.at + shift) for one in slow]

    def export_metrics(self) -> dict[str, Any]:
        """Return all figures as plain data, for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self.get_performance_summary())
        return found

    def export_json(self) -> str:
        """Return all figures as JSON."""
        return msgspec.json.encode(self.get_performance_summary()).decode()

    def cleanup(self) -> int:
        """Forget what is older than the retention, as asking does, too; say how many samples that were."""
        before, now = self.kept, self._clock()
        for samples in self._kinds():
            samples.since(now)
        return before - self.kept

    def reset_stats(self) -> None:
        """Forget all."""
        for samples in self._kinds():
            samples.clear()
        self._invalidated.clear()
        self.hits = self.misses = 0

    @property
    def kept(self) -> int:
        """How many samples are kept."""
        return sum(len(samples) for samples in self._kinds())

    def _kinds(self) -> tuple[Series[Any], ...]:
        return self._keys, self._operations, self._compressions, self._memory, self._invalidations


def _by_name(operations: Sequence[Operation]) -> dict[str, Timing]:
    found: defaultdict[str, list[float]] = defaultdict(list)
    for operation in operations:
        found[operation.name].append(operation.seconds)
    return {name: Timing.of(seconds) for name, seconds in sorted(found.items())}


def _seconds(operation: Operation) -> float:
    return operation.seconds


def _check(name: str, bound: Any, above: float = math.inf) -> None:
    number = isinstance(bound, int | float) and not isinstance(bound, bool)
    if not number or not 0 < bound <= above:
        reach = "" if above == math.inf else f" and at most {above!r:.40}"
        raise UsageError(f"{name} is above 0{reach}, not {bound!r:.80}")
