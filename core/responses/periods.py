"""The calls of models of a period, and what they come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import overload

from stoker.core.metrics.percentiles import percentile
from stoker.core.records import Record


class RequestMetric(Record, frozen=True):
    """One call of a model."""

    request_id: str
    provider: str
    response_time_ms: float
    cost_usd: float
    timestamp: datetime
    """When it was recorded, in UTC."""


class RequestTotals(Record, frozen=True):
    """What some calls come to. Percentiles are interpolated between the two nearest; 0.0 without calls."""

    requests: int
    cost_usd: float
    response_time_ms: float
    """Of all of them together."""
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, records: Iterable[RequestMetric]) -> RequestTotals:
        """Add calls up."""
        found = list(records)
        times = sorted(record.response_time_ms for record in found)
        total = sum(times)
        return cls(
            requests=len(found),
            cost_usd=sum(record.cost_usd for record in found),
            response_time_ms=total,
            mean_ms=total / len(times) if times else 0.0,
            p50_ms=percentile(times, 0.50),
            p95_ms=percentile(times, 0.95),
            p99_ms=percentile(times, 0.99),
        )


class MetricsOfPeriod(Sequence[RequestMetric]):
    """The calls of a period, the newest first: a sequence, with totals.

    Attributes:
        hours: The length of the period.
        truncated: Whether it has had more calls than are kept (about 100,000 of an hour) or read
            (250,000): these are the newest.
        error: Why the server could not be asked, if so.
    """

    def __init__(
        self, records: list[RequestMetric], *, hours: float, truncated: bool = False, error: str | None = None
    ) -> None:
        self._records = records
        self.hours = hours
        self.truncated = truncated
        self.error = error

    @cached_property
    def totals(self) -> RequestTotals:
        """What all calls come to."""
        return RequestTotals.of(self._records)

    @cached_property
    def providers(self) -> dict[str, RequestTotals]:
        """What the calls of each provider come to, by its name."""
        found = defaultdict[str, list[RequestMetric]](list)
        for record in self._records:
            found[record.provider].append(record)
        return {provider: RequestTotals.of(found[provider]) for provider in sorted(found)}

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> RequestMetric: ...
    @overload
    def __getitem__(self, index: slice) -> list[RequestMetric]: ...
    def __getitem__(self, index: int | slice) -> RequestMetric | list[RequestMetric]:
        return self._records[index]

    def __repr__(self) -> str:
        return f"<{len(self)} calls in {self.hours:g} h>"
