"""What figures mean: alerts, and which setting to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stoker.core.metrics.stats import ENOUGH_REQUESTS, LOW_HIT_RATE, human_bytes
from stoker.core.performance.summary import Alert, PerformanceSummary, Recommendation

#: Fewer values than this say nothing about how well they compress.
ENOUGH_VALUES = 20

#: A ratio below this is not worth the time.
POOR_RATIO = 1.2

#: Milliseconds that compressing a value may take on average.
LONG_COMPRESSION_MS = 5.0

#: Milliseconds that most reads may take.
LONG_READ_MS = 20.0

#: Milliseconds that making most keys may take.
LONG_KEY_MS = 5.0

#: Memory that is as full as this has no room for what is new.
FULL_PERCENT = 95.0


def alerts(summary: PerformanceSummary) -> Iterator[Alert]:
    """Yield what is wrong now."""
    memory, invalidation = summary.memory, summary.invalidation
    if memory.level != "ok":
        yield Alert("memory", memory.level, f"memory holds {human_bytes(memory.bytes)}")
    if summary.slow_operations:
        slowest = summary.slow_operations[0]
        text = f"{slowest.name} took {slowest.milliseconds:.0f} ms"
        yield Alert("slow_operations", "warning", text)
    if invalidation.level != "ok":
        text = f"{invalidation.last_hour} invalidations within the last hour"
        yield Alert("invalidations", invalidation.level, text)


def setting_names(cache_type: str) -> dict[str, str]:
    """What the settings that there is advice on are called in a configuration."""
    return {
        "ttl": f"types.{cache_type}.ttl",
        "compress_above": f"types.{cache_type}.compress_above",
        "compression_level": f"types.{cache_type}.compression_level",
        "memory_bytes": "memory.bytes",
        "memory_entries": "memory.entries",
        "timeout": "redis.timeout",
        "text_hash_threshold": "text_hash_threshold",
    }


def recommendations(summary: PerformanceSummary, names: Mapping[str, str]) -> Iterator[Recommendation]:
    """Yield what to change, each with the setting's name of those of `setting_names`."""
    yield from _on_memory(summary, names)
    if summary.hits + summary.misses >= ENOUGH_REQUESTS and summary.hit_ratio < LOW_HIT_RATE:
        yield Recommendation(
            names["ttl"],
            f"{summary.hit_ratio:.0%} of reads are hits: let entries live longer, or have them warmed",
        )
    compression = summary.compression
    if compression.count >= ENOUGH_VALUES and compression.ratio < POOR_RATIO:
        yield Recommendation(
            names["compress_above"],
            f"values become only {compression.ratio:.2f} times smaller: compress larger ones alone, or none",
        )
    if compression.count >= ENOUGH_VALUES and compression.timing.mean_ms > LONG_COMPRESSION_MS:
        yield Recommendation(
            names["compression_level"],
            f"compressing a value takes {compression.timing.mean_ms:.1f} ms: choose a lower level",
        )
    reads = summary.operations.get("get")
    if reads is not None and reads.count >= ENOUGH_REQUESTS and reads.p95_ms > LONG_READ_MS:
        yield Recommendation(
            names["timeout"],
            f"one read in twenty takes over {reads.p95_ms:.0f} ms: the server is slow or far; bound it",
        )
    if summary.key_generation.timing.p95_ms > LONG_KEY_MS:
        yield Recommendation(
            names["text_hash_threshold"],
            f"one key in twenty takes over {summary.key_generation.timing.p95_ms:.1f} ms to make: "
            "pass shorter texts, or what identifies them",
        )
    if summary.invalidation.level != "ok":
        yield Recommendation(
            names["ttl"],
            f"{summary.invalidation.last_hour} invalidations within an hour: a shorter life may do instead",
        )


def _on_memory(summary: PerformanceSummary, names: Mapping[str, str]) -> Iterator[Recommendation]:
    memory = summary.memory
    if memory.level != "ok":
        yield Recommendation(
            names["memory_bytes"],
            f"memory holds {human_bytes(memory.bytes)}: set a lower bound, or accept it",
        )
    elif memory.utilization_percent >= FULL_PERCENT:
        yield Recommendation(
            names["memory_entries"],
            f"{memory.entries} of {memory.max_entries} entries are taken: let there be more of them",
        )
