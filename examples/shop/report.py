"""What a replay measured, as numbers and as a table for people."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

from examples.shop.truth import Truth


@dataclass(slots=True)
class Tally:
    """What is counted while a replay runs; times in seconds."""

    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter[str])
    hits: int = 0
    stale_hits: int = 0
    misses: int = 0
    kinds: Counter[str] = field(default_factory=Counter[str])
    read_seconds: array[float] = field(default_factory=lambda: array("d"))
    """From the moment a request was due to its answer: waiting in the client counts."""
    late_seconds: array[float] = field(default_factory=lambda: array("d"))
    """How late the client itself was in starting a request."""
    writes: int = 0
    write_errors: int = 0
    unpublished: int = 0
    """Writes whose event could not be published at once; the shop does it later."""
    recorded: int = 0
    """Writes whose record was seen in the log."""
    log_seconds: array[float] = field(default_factory=lambda: array("d"))
    """From an event's publication to its record standing in the log, both by the server's clock."""
    unanswered_seconds: float = 0.0
    """Time in which every request that ended had failed."""
    longest_gap_seconds: float = 0.0
    """The longest time between two answered reads."""
    _answered: float | None = None
    _failing: bool = False

    def answered(self, at: float) -> None:
        """A read was answered at `at`."""
        if self._answered is not None:
            gap = at - self._answered
            self.longest_gap_seconds = max(self.longest_gap_seconds, gap)
            self.unanswered_seconds += gap if self._failing else 0.0
        self._answered, self._failing = at, False

    def failed(self, reason: str) -> None:
        """A read was not answered."""
        self.errors[reason] += 1
        self._failing = True


def quantile(values: array[float] | list[float], share: float) -> float | None:
    """The value that `share` of `values` don't exceed (nearest rank); `None` of nothing.

    >>> quantile([5.0, 1.0, 3.0], 0.5)
    3.0
    """
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def build(tally: Tally, truth: Truth, loads: dict[str, int] | None, *, seconds: float) -> dict[str, Any]:
    """All figures of a replay, ready for JSON.

    Args:
        tally: what was counted.
        truth: what was judged.
        loads: loads of the database while it ran, by origin; `None` if the shop did not tell.
        seconds: how long it ran, without its warm-up.
    """
    served = tally.hits + tally.misses
    verdicts = truth.verdicts
    return {
        "seconds": round(seconds, 2),
        "requests": tally.requests,
        "requests_per_second": round(tally.requests / seconds, 1) if seconds else None,
        "errors": tally.errors.total(),
        "error_reasons": dict(tally.errors.most_common(5)),
        "unanswered_seconds": round(tally.unanswered_seconds, 3),
        "longest_gap_seconds": round(tally.longest_gap_seconds, 3),
        "hit_rate": round(tally.hits / served, 4) if served else None,
        "hits": tally.hits,
        "stale_hits": tally.stale_hits,
        "misses": tally.misses,
        "expiry_misses": tally.kinds["expired"],
        "cold_misses": tally.kinds["cold"],
        "invalidation_misses": tally.kinds["invalidated"],
        "read_ms": _milliseconds(tally.read_seconds),
        "loads": loads,
        "writes": {
            "sent": tally.writes,
            "errors": tally.write_errors,
            "published_later": tally.unpublished,
            "seen_in_log": tally.recorded,
            "not_seen_in_log": truth.unrecorded(),
            "publication_to_log_ms": _milliseconds(tally.log_seconds),
        },
        "reads_judged": verdicts.judged,
        "reads_judged_after_write": verdicts.judged_after_write,
        "stale_after_applied": verdicts.stale_after_applied,
        "stale_before_applied": verdicts.stale_before_applied,
        "stale_examples": verdicts.examples,
        "client_late_ms": _milliseconds(tally.late_seconds),
    }


def table(report: dict[str, Any]) -> str:
    """The report as lines of a name and a value."""
    lines: list[str] = []
    for name, value in report.items():
        lines.append(f"{name.replace('_', ' '):24} {_show(value)}")
    return "\n".join(lines)


def _show(value: Any, *, inside: bool = False) -> str:
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        text = ", ".join(f"{key.replace('_', ' ')} {_show(v, inside=True)}" for key, v in entries.items())
        return f"({text})" if inside else text or "-"
    return "-" if value is None or value == [] else f"{value}"


def _milliseconds(values: array[float]) -> dict[str, float | None]:
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    found = {name: quantile(values, share) for name, share in shares.items()}
    return {name: None if value is None else round(value * 1000, 2) for name, value in found.items()}
