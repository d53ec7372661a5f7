"""Hit rates of the whole fleet: each process writes its counters into time buckets, a job adds them up.

A field of a bucket belongs to one process, which writes what it counted within that bucket so far: to
write it twice changes nothing, so a flush whose answer got lost is simply repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.core.errors import LinkError, ReplyError
from stoker.core.runs import read_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stoker.core.manager import CacheManager

logger = logging.getLogger(__name__)

#: Seconds in a bucket of counters, and how long each is kept.
BUCKET_SECONDS = 10
KEPT_SECONDS = 2 * 3600

#: Buckets that a process keeps while the server is away; with more the oldest go uncounted.
MOST_UNSENT = 360

#: Windows that rates are computed for, in seconds; the second is the one of `cache_hit_rate`.
WINDOWS = (60, 300, 3600)
HEADLINE_WINDOW = 300

#: A rate lives so long after it was computed, in seconds: nobody reads the last one of a job that stopped.
RATE_SECONDS = 300

#: Buckets asked for at once.
READ_BUCKETS = 60


@dataclass(frozen=True, slots=True)
class HitRate:
    """Hits and misses of one type over a window."""

    cache_type: str
    window: int
    """Seconds."""
    hits: int
    """Stale and negative answers are hits too."""
    misses: int
    rate: float
    """Share of hits, 0 to 1."""

    @property
    def hit_rate_percent(self) -> float:
        """The rate in percent."""
        return self.rate * 100.0


class CounterFlush:
    """The background task of one process that writes what its counters gained.

    Args:
        manager: The cache whose `counters` are read.
        flush_every: Seconds between flushes.
    """

    def __init__(self, manager: CacheManager, *, flush_every: float = 2.0) -> None:
        self._manager = manager
        self._flush_every = flush_every
        self._identity = f"{manager.process.replace('|', '_')}.{secrets.token_hex(3)}"
        self._seen: dict[tuple[str, str], int] = {}
        self._buckets: dict[int, dict[str, int]] = {}
        self._unsent: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()
        self.flush_failures = 0
        """Flushes that the server did not take; they are repeated."""

    async def start(self) -> None:
        """Begin to flush in the background; a second start does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="stoker-counters")

    async def stop(self) -> None:
        """Stop, after a last flush if the server answers."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(LinkError):
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted since the last flush.

        Raises:
            LinkError: The server can't be reached; what was counted stays for the next flush.
        """
        async with self._flushing:
            current = self._collect()
            for bucket in sorted(self._unsent):
                await self._send(bucket)
            self._buckets = {bucket: found for bucket, found in self._buckets.items() if bucket == current}

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._flush_every)
            try:
                await self.flush()
            except LinkError:
                self.flush_failures += 1
            except Exception:
                # Counting must outlive any fault of its own: the rates of the fleet rest on it.
                self.flush_failures += 1
                logger.exception("action=counters_failed", extra={"action": "counters_failed"})

    def _collect(self) -> int:
        """Add what the counters gained to the current bucket, and return that bucket."""
        current = int(time.time() // BUCKET_SECONDS) * BUCKET_SECONDS
        for cache_type, counters in self._manager.counters.snapshot().items():
            for name, value in counters.items():
                gained = value - self._seen.get((cache_type, name), 0)
                if gained:
                    self._seen[cache_type, name] = value
                    field = f"{cache_type}|{self._identity}|{name}"
                    bucket = self._buckets.setdefault(current, {})
                    bucket[field] = bucket.get(field, 0) + gained
                    self._unsent.add(current)
        while len(self._unsent) > MOST_UNSENT:
            oldest = min(self._unsent)
            self._unsent.discard(oldest)
            self._buckets.pop(oldest, None)
        return current

    async def _send(self, bucket: int) -> None:
        flat = [part for pair in self._buckets[bucket].items() for part in pair]
        name = self._manager.keys.hits(bucket)
        for reply in await self._manager.link.calls([("HSET", name, *flat), ("EXPIRE", name, KEPT_SECONDS)]):
            if isinstance(reply, ReplyError):
                raise LinkError(f"{name} was refused: {reply}")
        self._unsent.discard(bucket)


async def compute_hit_rates(manager: CacheManager, windows: Sequence[float] = WINDOWS) -> list[HitRate]:
    """Add up the fleet's hits and misses, and store the rates of each configured type.

    A window reaches back at least its length, and less than one bucket further. A type without traffic in
    a window has no rate there, and a stored one is removed.

    Args:
        manager: The cache; its configuration names the types.
        windows: Lengths in whole seconds.

    Raises:
        LinkError: The server can't be reached.
    """
    now, lengths = time.time(), [int(window) for window in windows]
    by_bucket = await _read_buckets(manager, now, max(lengths, default=0))
    rates: list[HitRate] = []
    for cache_type in manager.config.types:
        of_type: list[HitRate] = []
        for window in lengths:
            within = [start for start in by_bucket if start + BUCKET_SECONDS > now - window]
            hits = sum(by_bucket[start].get((cache_type, "hits"), 0) for start in within)
            misses = sum(by_bucket[start].get((cache_type, "misses"), 0) for start in within)
            if hits + misses:
                of_type.append(HitRate(cache_type, window, hits, misses, hits / (hits + misses)))
        await _store(manager, cache_type, lengths, of_type)
        rates += of_type
    return rates


async def stored_hit_rates(manager: CacheManager) -> list[HitRate]:
    """Return the rates as last computed, while they are young enough to be stored.

    Raises:
        LinkError: The server can't be reached.
    """
    types = list(manager.config.types)
    replies = await manager.link.calls([("HGETALL", manager.keys.rate(name)) for name in types])
    rates: list[HitRate] = []
    for cache_type, reply in zip(types, replies, strict=True):
        for window, value in read_hash(reply).items():
            with contextlib.suppress(ValueError):  # a field of another version
                hits, misses = (int(part) for part in value.split("/"))
                rates.append(HitRate(cache_type, int(window), hits, misses, hits / max(hits + misses, 1)))
    return sorted(rates, key=lambda rate: (rate.cache_type, rate.window))


async def _read_buckets(
    manager: CacheManager, now: float, longest: int
) -> dict[int, dict[tuple[str, str], int]]:
    """Return, for each bucket with anything in it, hits and misses of each type over all processes."""
    # A process whose clock runs ahead may write to the bucket after this one.
    newest = int(now // BUCKET_SECONDS) * BUCKET_SECONDS + BUCKET_SECONDS
    starts = range(newest, int(now - longest - BUCKET_SECONDS), -BUCKET_SECONDS)
    found: dict[int, dict[tuple[str, str], int]] = {}
    for at in range(0, len(starts), READ_BUCKETS):
        part = starts[at : at + READ_BUCKETS]
        replies = await manager.link.calls([("HGETALL", manager.keys.hits(start)) for start in part])
        for start, reply in zip(part, replies, strict=True):
            added = _add_up(read_hash(reply).items())
            if added:
                found[start] = added
    return found


def _add_up(fields: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Add the hits and misses in a bucket's fields `type|process|counter` over the processes."""
    sums: defaultdict[tuple[str, str], int] = defaultdict(int)
    for field, value in fields:
        cache_type, _, rest = field.partition("|")
        name = rest.rpartition("|")[2]
        if name in {"hits", "misses"} and value.isdigit():
            sums[cache_type, name] += int(value)
    return dict(sums)


async def _store(
    manager: CacheManager, cache_type: str, windows: Sequence[int], rates: list[HitRate]
) -> None:
    name = manager.keys.rate(cache_type)
    empty = [str(window) for window in windows if window not in {rate.window for rate in rates}]
    flat = [part for rate in rates for part in (str(rate.window), f"{rate.hits}/{rate.misses}")]
    commands: list[tuple[str | int, ...]] = []
    if empty:
        commands.append(("HDEL", name, *empty))
    if flat:
        commands += [("HSET", name, *flat), ("EXPIRE", name, RATE_SECONDS)]
    await manager.link.calls(commands)
