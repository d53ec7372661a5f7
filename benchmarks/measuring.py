"""What all measurements share: the machine they ran on, percentiles, and which peers are installed."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any


def machine() -> dict[str, Any]:
    """What a reader must know of the machine to judge the figures."""
    return {
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
        "redis-py": importlib.metadata.version("redis"),
        "hiredis": importlib.metadata.version("hiredis"),
    }


def percentile(values: Iterable[float], share: float) -> float | None:
    """The value that `share` (0 to 1) of the values don't exceed; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds(seconds: float | None, digits: int = 2) -> float | None:
    return None if seconds is None else round(seconds * 1000, digits)


def in_milliseconds(seconds: Sequence[float]) -> dict[str, float | None]:
    """Median, 99th percentile and worst of durations."""
    return {
        "p50": milliseconds(percentile(seconds, 0.5), 3),
        "p99": milliseconds(percentile(seconds, 0.99), 3),
        "max": milliseconds(max(seconds, default=None), 3),
    }


def spread(values: Sequence[float]) -> float:
    """How far the middle half of the values lies apart, as a share of their median."""
    if len(values) < 4 or not statistics.median(values):
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return round((high - low) / statistics.median(values), 3)


def optional(module: str) -> ModuleType | None:
    """A peer's module, or None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def tell(text: str) -> None:
    """Progress, for who watches."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_document(options: dict[str, Any], parts: dict[str, Any]) -> None:
    """The command's one JSON document."""
    print(json.dumps({"options": options, "machine": machine(), **parts}, indent=2))
