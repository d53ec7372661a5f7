"""What a monitor tells: all its figures, what is wrong, and what to change."""

from __future__ import annotations

from stoker.core.performance.figures import (
    CompressionFigures,
    InvalidationFigures,
    KeyFigures,
    Level,
    MemoryFigures,
    Timing,
    Trend,
)
from stoker.core.records import Record


class SlowOperation(Record, frozen=True):
    """An operation that took too long."""

    name: str
    milliseconds: float
    length: int
    """Characters of its text."""
    at: float
    """Unix time."""


class Alert(Record, frozen=True):
    """Something that is wrong now."""

    kind: str
    """`memory`, `slow_operations` or `invalidations`."""
    level: Level
    text: str


class Recommendation(Record, frozen=True):
    """Something to change."""

    setting: str
    """As it is called in `stoker.yaml`: `types.ai_response.ttl`; or an argument of `AIResponseCache`."""
    text: str


class PerformanceSummary(Record, frozen=True):
    """All that a monitor knows."""

    at: float
    """Unix time."""
    retention_seconds: float
    hits: int
    misses: int
    hit_ratio: float
    """Share of hits, 0 to 1; 0.0 without reads."""
    key_generation: KeyFigures
    operations: dict[str, Timing]
    """By name: `get`, `set`, …"""
    memory: MemoryFigures
    compression: CompressionFigures
    invalidation: InvalidationFigures
    slow_operations: list[SlowOperation]
    """The slowest first, ten at most."""
    trends: dict[str, Trend]
    """Of `hit_ratio` and `operation_ms`."""
    alerts: tuple[Alert, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()

    @property
    def utilization_percent(self) -> float:
        """How full memory is."""
        return self.memory.utilization_percent
