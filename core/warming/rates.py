"""Hit rates of the whole fleet: each process writes its counters into time buckets, a job adds them up.

A field of a bucket belongs to one process, which writes what it counted within that bucket so far: to
write it twice changes nothing, so a flush whose answer got lost is simply repeated. All is counted twice,
in fine buckets for the short windows and in coarse ones that are kept for a day.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.core.background import Background
from stoker.core.errors import LinkError, ReplyError, UsageError
from stoker.core.warming.flushing import Flushing
from stoker.core.warming.runs import read_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from stoker.core.manager import CacheManager
    from stoker.core.parts import Parts

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resolution:
    """One of the ways in which time is cut."""

    width: int
    """Seconds in a bucket."""
    kept: int
    """Seconds that a bucket is kept."""

    def start(self, at: float) -> int:
        """The bucket of a unix time."""
        return int(at // self.width) * self.width


FINE = Resolution(10, 900)
COARSE = Resolution(300, 86400 + 600)

#: Windows up to so many seconds are read from the fine buckets.
FINE_WINDOW = 600

#: The longest window, in seconds.
LONGEST_WINDOW = 86400

#: What is shared: few counters, as each is a field for each process, type and bucket.
SHARED = ("hits", "misses", "stale_hits", "negative_hits", "dead", "loads", "warm_loads", "load_failures")

#: Windows that rates are computed for, in seconds; the second is the one of `cache_hit_rate`.
WINDOWS = (60, 300, 3600)
HEADLINE_WINDOW = 300

#: A rate lives so long after it was computed, in seconds: nobody reads the last one of a job that stopped.
RATE_SECONDS = 300

#: Buckets asked for at once.
READ_BUCKETS = 50


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


class CounterFlush(Flushing):
    """The background task of one process that writes what its counters gained.

    Args:
        manager: The cache whose `counters` are read.
        flush_every: Seconds between flushes.
    """

    def __init__(self, manager: Parts, *, flush_every: float = 2.0) -> None:
        self._manager = manager
        self._flush_every = flush_every
        self._identity = f"{manager.process.replace('|', '_')}.{secrets.token_hex(3)}"
        self._seen: dict[tuple[str, str], int] = {}
        self._buckets: dict[tuple[Resolution, int], dict[str, int]] = {}
        self._unsent: set[tuple[Resolution, int]] = set()
        self._background = Background(self._run, "stoker-counters")
        self._flushing = asyncio.Lock()
        self.flush_failures = 0
        """Flushes that the server did not take; they are repeated."""

    async def flush(self) -> None:
        """Write what was counted since the last flush.

        Raises:
            LinkError: The server can't be reached; what was counted stays for the next flush.
        """
        async with self._flushing:
            now = time.time()
            current = {(resolution, resolution.start(now)) for resolution in (FINE, COARSE)}
            self._collect(current)
            self._forget(now)
            for resolution, start in list(self._unsent):
                await self._send(resolution, start)
            self._buckets = {bucket: found for bucket, found in self._buckets.items() if bucket in current}

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

    def _collect(self, current: set[tuple[Resolution, int]]) -> None:
        """Add what the counters gained to the current buckets."""
        for cache_type, counters in self._manager.counters.snapshot().items():
            for name in SHARED:
                value = counters[name]
                gained = value - self._seen.get((cache_type, name), 0)
                if not gained:
                    continue
                self._seen[cache_type, name] = value
                field = f"{cache_type}|{self._identity}|{name}"
                for bucket in current:
                    fields = self._buckets.setdefault(bucket, {})
                    fields[field] = fields.get(field, 0) + gained
                    self._unsent.add(bucket)

    def _forget(self, now: float) -> None:
        """Drop what the server would not keep either, so that an outage costs bounded memory."""
        for bucket in [
            (resolution, start) for resolution, start in self._buckets if start < now - resolution.kept
        ]:
            del self._buckets[bucket]
            self._unsent.discard(bucket)

    async def _send(self, resolution: Resolution, start: int) -> None:
        flat = [part for pair in self._buckets[resolution, start].items() for part in pair]
        name = self._manager.keys.hits(start, resolution.width)
        for reply in await self._manager.link.calls(
            [("HSET", name, *flat), ("EXPIRE", name, resolution.kept)]
        ):
            if isinstance(reply, ReplyError):
                raise LinkError(f"{name} was refused: {reply}")
        self._unsent.discard((resolution, start))


async def compute_hit_rates(manager: CacheManager, windows: Sequence[float] = WINDOWS) -> list[HitRate]:
    """Add up the fleet's hits and misses, and store the rates of each configured type.

    A window reaches back at least its length, and less than one bucket further: 10 s up to ten minutes,
    five minutes beyond that. A type without traffic in a window has no rate there, and a stored one is
    removed.

    Args:
        manager: The cache; its configuration names the types.
        windows: Lengths in whole seconds, a day at most.

    Raises:
        LinkError: The server can't be reached.
        UsageError: A window is longer than a day.
    """
    now, lengths = time.time(), [int(window) for window in windows]
    if max(lengths, default=0) > LONGEST_WINDOW:
        raise UsageError(f"hit rates reach back {LONGEST_WINDOW} s at most, not {max(lengths)}")
    sums: dict[int, dict[tuple[str, str], int]] = {}
    for resolution, part in (
        (FINE, [window for window in lengths if window <= FINE_WINDOW]),
        (COARSE, [window for window in lengths if window > FINE_WINDOW]),
    ):
        if part:
            buckets = await _read_buckets(manager, resolution, now, max(part))
            sums |= {window: _within(buckets, now - window - resolution.width) for window in part}
    rates: list[HitRate] = []
    for cache_type in manager.config.types:
        of_type: list[HitRate] = []
        for window in lengths:
            hits, misses = (sums[window].get((cache_type, name), 0) for name in ("hits", "misses"))
            if hits + misses:
                of_type.append(HitRate(cache_type, window, hits, misses, hits / (hits + misses)))
        await _store(manager, cache_type, lengths, of_type)
        rates += of_type
    return rates


def _within(buckets: dict[int, dict[tuple[str, str], int]], after: float) -> dict[tuple[str, str], int]:
    """Add up the buckets that start after a unix time."""
    sums: Counter[tuple[str, str]] = Counter()
    for start, found in buckets.items():
        if start > after:
            sums.update(found)
    return dict(sums)


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
    manager: CacheManager, resolution: Resolution, now: float, longest: int
) -> dict[int, dict[tuple[str, str], int]]:
    """Return, for each bucket with anything in it, hits and misses of each type over all processes."""
    # A process whose clock runs ahead may write to the bucket after this one.
    newest = resolution.start(now) + resolution.width
    starts = range(newest, int(now - longest - resolution.width), -resolution.width)
    found: dict[int, dict[tuple[str, str], int]] = {}
    for at in range(0, len(starts), READ_BUCKETS):
        part = starts[at : at + READ_BUCKETS]
        replies = await manager.link.calls(
            [("HGETALL", manager.keys.hits(start, resolution.width)) for start in part]
        )
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
    if manager.read_only:
        return
    name = manager.keys.rate(cache_type)
    empty = [str(window) for window in windows if window not in {rate.window for rate in rates}]
    flat = [part for rate in rates for part in (str(rate.window), f"{rate.hits}/{rate.misses}")]
    commands: list[tuple[str | int, ...]] = []
    if empty:
        commands.append(("HDEL", name, *empty))
    if flat:
        commands += [("HSET", name, *flat), ("EXPIRE", name, RATE_SECONDS)]
    await manager.link.calls(commands)
