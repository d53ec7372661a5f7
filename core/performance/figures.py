"""What samples come to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from stoker.core.metrics.percentiles import percentile
from stoker.core.performance.samples import Compression, Invalidation, KeyMade, MemoryUse, Operation
from stoker.core.records import Record

Level = Literal["ok", "warning", "critical"]

#: Spans that a trend compares.
TREND_SPANS = 6

#: A hit ratio or a time that differs by so much from the first spans to the last is no longer steady.
TREND_SHARE = 0.1


class Timing(Record, frozen=True):
    """Durations, in milliseconds; 0.0 where there are none."""

    count: int = 0
    mean_ms: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Timing:
        """Sum durations up."""
        found = sorted(one * 1000 for one in seconds)
        if not found:
            return cls()
        return cls(
            len(found),
            sum(found) / len(found),
            percentile(found, 0.50),
            percentile(found, 0.95),
            percentile(found, 0.99),
            found[-1],
        )


class KeyFigures(Record, frozen=True):
    """How long keys take to make."""

    timing: Timing
    by_tier: dict[str, Timing]
    """By the texts' sizes."""
    microseconds_per_1000_characters: float
    """How much longer a text takes that is so much longer; 0.0 where texts are too few or of one length."""

    @classmethod
    def of(cls, samples: Sequence[KeyMade]) -> KeyFigures:
        """Sum the making of keys up."""
        tiers: defaultdict[str, list[float]] = defaultdict(list)
        for sample in samples:
            tiers[sample.tier].append(sample.seconds)
        return cls(
            Timing.of(sample.seconds for sample in samples),
            {tier: Timing.of(found) for tier, found in sorted(tiers.items())},
            slope([(float(sample.length), sample.seconds) for sample in samples]) * 1000 * 1e6,
        )


class MemoryFigures(Record, frozen=True):
    """What memory holds."""

    bytes: int = 0
    entries: int = 0
    max_entries: int = 0
    utilization_percent: float = 0.0
    """How many of the entries that there may be."""
    bytes_per_hour: float = 0.0
    """How it grows, over what was measured."""
    level: Level = "ok"

    @classmethod
    def of(cls, samples: Sequence[MemoryUse], warning: int, critical: int) -> MemoryFigures:
        """Judge what memory held last."""
        if not samples:
            return cls()
        last = samples[-1]
        level: Level = "critical" if last.bytes >= critical else "warning" if last.bytes >= warning else "ok"
        return cls(
            last.bytes,
            last.entries,
            last.max_entries,
            100.0 * last.entries / last.max_entries if last.max_entries else 0.0,
            slope([(sample.at, float(sample.bytes)) for sample in samples]) * 3600,
            level,
        )


class CompressionFigures(Record, frozen=True):
    """What compression saves, and takes."""

    count: int
    bytes_before: int
    bytes_after: int
    ratio: float
    """Bytes before to bytes after; 1.0 where nothing was compressed."""
    timing: Timing

    @classmethod
    def of(cls, samples: Sequence[Compression]) -> CompressionFigures:
        """Sum compressions up."""
        before = sum(sample.before for sample in samples)
        after = sum(sample.after for sample in samples)
        timing = Timing.of(sample.seconds for sample in samples)
        return cls(len(samples), before, after, before / after if after else 1.0, timing)

    @property
    def saved_bytes(self) -> int:
        """What was not stored."""
        return self.bytes_before - self.bytes_after


class InvalidationFigures(Record, frozen=True):
    """How often is invalidated, and why."""

    events: int
    entries: int
    """Entries that were unlinked, where that is known."""
    last_hour: int
    """Events of the last hour."""
    by_kind: dict[str, int]
    by_context: dict[str, int]
    level: Level

    @classmethod
    def of(
        cls, samples: Sequence[Invalidation], recent: int, warning: int, critical: int
    ) -> InvalidationFigures:
        """Sum invalidations up; judge how many there were of late."""
        level: Level = "critical" if recent >= critical else "warning" if recent >= warning else "ok"
        return cls(
            len(samples),
            sum(sample.gone for sample in samples),
            recent,
            dict(Counter(sample.kind for sample in samples)),
            dict(Counter(sample.context for sample in samples if sample.context)),
            level,
        )


class Trend(Record, frozen=True):
    """How a figure went over the time that is kept, in spans of equal length, the oldest first."""

    spans: list[float | None]
    """None where nothing was measured."""
    direction: Literal["rising", "falling", "steady"]

    @classmethod
    def of(cls, spans: list[float | None]) -> Trend:
        """Compare the first spans with the last."""
        known = [span for span in spans if span is not None]
        half = len(known) // 2
        if not half:
            return cls(spans, "steady")
        early, late = sum(known[:half]) / half, sum(known[-half:]) / half
        if abs(late - early) <= TREND_SHARE * max(abs(early), abs(late)):
            return cls(spans, "steady")
        return cls(spans, "rising" if late > early else "falling")


def trends(samples: Sequence[Operation], now: float, retention: float) -> dict[str, Trend]:
    """Return how hit ratio and times went."""
    width = retention / TREND_SPANS
    cut: list[list[Operation]] = [[] for _ in range(TREND_SPANS)]
    for sample in samples:
        cut[min(max(int((sample.at - now + retention) / width), 0), TREND_SPANS - 1)].append(sample)
    return {
        "hit_ratio": Trend.of([_hit_ratio(span) for span in cut]),
        "operation_ms": Trend.of(
            [1000 * sum(s.seconds for s in span) / len(span) if span else None for span in cut]
        ),
    }


def _hit_ratio(samples: Sequence[Operation]) -> float | None:
    hits = sum(sample.hits for sample in samples)
    reads = hits + sum(sample.misses for sample in samples)
    return hits / reads if reads else None


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return how much y grows with x, by least squares; 0.0 where all x are one."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
