"""Clean-up of what outlived its use: one bounded walk over the keys below the prefix.

Everything Stoker writes has a TTL or a bound, so there is little to find: what a crash between two
commands, a changed configuration or a restored snapshot left behind. What this module doesn't know it
leaves alone. Entries are counted on the way, and left alone as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import REQUESTS_SECONDS, glob_escape
from stoker.core.maintenance.heartbeat import KEPT_SECONDS as HEARTBEAT_SECONDS
from stoker.core.maintenance.sizes import store_sizes
from stoker.core.warming import rates
from stoker.core.warming.buckets import Buckets
from stoker.core.warming.hotkeys import BUCKET_MEMBERS, RECIPE_KEPT_SECONDS, hottest_keys
from stoker.core.warming.runs import KEPT_SECONDS as RUN_SECONDS
from stoker.core.warming.runs import RunLock, new_run_id, record_run

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

logger = logging.getLogger(__name__)

#: The job's name in run records.
JOB = "cleanup"

#: Keys that one UNLINK frees at most.
UNLINK_BATCH = 500

#: Metrics are kept so long, in seconds.
RETENTION_SECONDS = 86400.0

#: A lease is renewed every second or so: one that would hold longer than this belongs to nobody.
LONGEST_LEASE_MS = 60_000

#: Fields of a recipe hash that are looked at in one go.
RECIPE_BATCH = 500

#: What a clean-up frees.
CATEGORIES = ("buckets", "processes", "unconfigured", "leases", "recipes")

# Frees a lease that would hold on without an end, if its entry is gone.
# KEYS: lease, entry.  ARGV: longest honest TTL in ms, 1 to free it.
_FREE_LEASE = """
local left = redis.call('PTTL', KEYS[1])
if left ~= -1 and left <= tonumber(ARGV[1]) then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
if ARGV[2] == '1' then redis.call('UNLINK', KEYS[1]) end
return 1
"""


@dataclass(slots=True)
class CleanupReport:
    """What a clean-up found and freed."""

    dry_run: bool
    skipped: bool = False
    """Another clean-up was under way, and this one did nothing."""
    error: str = ""
    """Why it ended early, if it did."""
    scanned: int = 0
    """Keys looked at."""
    freed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CATEGORIES, 0))
    """By category: `buckets` past retention, `processes` unseen for five minutes, `unconfigured` (keys of
    types that are no longer configured), `leases` and `recipes` whose entry is gone. Recipes are fields."""
    bounded: int = 0
    """Keys that had no TTL and were given theirs."""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        """All that was freed."""
        return sum(self.freed.values())


@dataclass(slots=True)
class _Findings:
    """What one step of the walk found, before anything is done about it."""

    free: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """(category, key)"""
    ttl: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """(key, the TTL in seconds it should have if it has none)"""
    leases: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """(lease, entry)"""
    processes: list[str] = field(default_factory=list[str])
    recipes: list[str] = field(default_factory=list[str])
    """Types whose recipes are to be looked at."""


class Classifier:
    """Tells from a key's name alone what is to be done about it."""

    def __init__(self, manager: CacheManager, *, retention: float, now: float) -> None:
        self._types = manager.config.types
        self._keys = manager.keys
        self._start = f"{manager.keys.prefix}:"
        self._oldest = now - retention
        self._request_seconds = int(manager.config.request_metrics_ttl) + REQUESTS_SECONDS
        self._entry = re.compile(re.escape(f"{self._start}e:{{") + r"([a-z][a-z0-9_]*):", re.DOTALL)
        self.entries: Counter[str] = Counter()
        """Entries seen, by type."""

    def sort(self, name: str, found: _Findings) -> None:
        """Add a key to the findings, unless nothing is to be done about it."""
        entry = self._entry.match(name)
        if entry is not None:
            self.entries[entry[1]] += 1
            return
        family, _, rest = name.removeprefix(self._start).partition(":")
        match family:
            case "l":
                found.leases.append((name, f"{self._start}e:{rest}"))
            case "hits":
                start = rest.partition(":")[0]
                if start.isdigit():
                    self._sort_bucket(name, int(start), rates.COARSE.kept, found)
            case "requests":
                found.ttl.append((name, self._request_seconds))
            case "hot":
                self._sort_hot(name, rest, found)
            case "recipe":
                self._sort_typed(name, rest, RECIPE_KEPT_SECONDS, found)
                if rest in self._types:
                    found.recipes.append(rest)
            case "rate":
                self._sort_typed(name, rest, rates.RATE_SECONDS, found)
            case "process":
                found.processes.append(name)
            case "run" | "runs":
                found.ttl.append((name, RUN_SECONDS))
            case _:
                pass

    def _sort_bucket(self, name: str, start: int, kept: int, found: _Findings) -> None:
        if start < self._oldest:
            found.free.append(("buckets", name))
        else:
            found.ttl.append((name, kept))

    def _sort_hot(self, name: str, rest: str, found: _Findings) -> None:
        cache_type, _, start = rest.rpartition(":")
        if not start.isdigit():
            return
        policy = self._types.get(cache_type)
        if policy is None:
            found.free.append(("unconfigured", name))
        else:
            self._sort_bucket(name, int(start), Buckets.of(policy).kept, found)

    def _sort_typed(self, name: str, cache_type: str, kept: int, found: _Findings) -> None:
        if cache_type in self._types:
            found.ttl.append((name, kept))
        else:
            found.free.append(("unconfigured", name))


async def cleanup_metrics(
    manager: CacheManager, *, dry_run: bool = False, retention: float = RETENTION_SECONDS
) -> CleanupReport:
    """Free what outlived its use, count the entries of each type, and record the run.

    Cache trouble is told in the report's `error`, never raised.

    Args:
        manager: The cache; its configuration names the types.
        dry_run: Count only.
        retention: Seconds that time buckets are kept.
    """
    report, began = CleanupReport(dry_run), time.monotonic()
    try:
        async with RunLock(manager, JOB, "all") as lock:
            if not lock.held:
                report.skipped = True
                return report
            await _walk(manager, report, lock, retention)
            report.seconds = time.monotonic() - began
            if not dry_run:
                await _record(manager, report)
    except (LinkError, ReplyError) as error:
        report.error = str(error)
    report.seconds = time.monotonic() - began
    return report


async def _walk(manager: CacheManager, report: CleanupReport, lock: RunLock, retention: float) -> None:
    sorter = Classifier(manager, retention=retention, now=time.time())
    async with contextlib.aclosing(manager.link.scan(f"{glob_escape(manager.keys.prefix)}:*")) as steps:
        async for names in steps:
            if not lock.held:
                report.error = "its lock was lost"
                return
            found = _Findings()
            for name in names:
                sorter.sort(name.decode(errors="surrogateescape"), found)
            report.scanned += len(names)
            await _act(manager, report, found)
            await asyncio.sleep(0)
    if not report.dry_run:
        await store_sizes(manager, sorter.entries)


async def _act(manager: CacheManager, report: CleanupReport, found: _Findings) -> None:
    found.free += [("processes", name) for name in await _unseen(manager, found.processes)]
    for at in range(0, len(found.free), UNLINK_BATCH):
        part = found.free[at : at + UNLINK_BATCH]
        for category, _ in part:
            report.freed[category] += 1
        if not report.dry_run:
            await manager.link.call("UNLINK", *(_raw(name) for _, name in part))
    await _give_ttl(manager, report, found.ttl)
    await _free_leases(manager, report, found.leases)
    for cache_type in found.recipes:
        with contextlib.suppress(ReplyError):  # a key of another kind is somebody else's
            await _free_recipes(manager, report, cache_type)


async def _unseen(manager: CacheManager, names: list[str]) -> list[str]:
    """Return the heartbeats that have no TTL (a living process renews it) and are five minutes old."""
    commands: list[tuple[str | bytes, ...]] = []
    for name in names:
        commands += [("TTL", _raw(name)), ("HGET", _raw(name), "seen")]
    replies = await manager.link.calls(commands)
    oldest = time.time() - HEARTBEAT_SECONDS
    return [
        name
        for name, left, seen in zip(names, replies[::2], replies[1::2], strict=True)
        if left == -1 and _number(seen) < oldest
    ]


async def _give_ttl(manager: CacheManager, report: CleanupReport, wanted: list[tuple[str, int]]) -> None:
    """Give those keys a TTL that have none."""
    left = await manager.link.calls([("TTL", _raw(name)) for name, _ in wanted])
    commands = [
        ("EXPIRE", _raw(name), ttl) for (name, ttl), has in zip(wanted, left, strict=True) if has == -1
    ]
    report.bounded += len(commands)
    if not report.dry_run:
        await manager.link.calls(commands)


async def _free_leases(manager: CacheManager, report: CleanupReport, leases: list[tuple[str, str]]) -> None:
    free = int(not report.dry_run)
    replies = await manager.link.calls(
        [
            ("EVAL", _FREE_LEASE, 2, _raw(lease), _raw(entry), LONGEST_LEASE_MS, free)
            for lease, entry in leases
        ]
    )
    report.freed["leases"] += sum(reply == 1 for reply in replies)


async def _free_recipes(manager: CacheManager, report: CleanupReport, cache_type: str) -> None:
    """Free the recipes of keys that are stored no longer, and that nobody asks for any more either."""
    keys, link = manager.keys, manager.link
    hot = {heat.key for heat in await hottest_keys(manager, cache_type, BUCKET_MEMBERS)}
    name, cursor = keys.recipe(cache_type), b"0"
    while True:
        cursor, flat = await link.call("HSCAN", name, cursor, "COUNT", RECIPE_BATCH)
        fields = [bytes(part) for part in flat[::2]]
        names = [field.decode(errors="replace") for field in fields]
        there = await link.calls([("EXISTS", keys.entry(cache_type, name)) for name in names])
        gone = [
            field
            for field, name, exists in zip(fields, names, there, strict=True)
            if exists == 0 and name not in hot
        ]
        report.freed["recipes"] += len(gone)
        if gone and not report.dry_run:
            await link.call("HDEL", name, *gone)
        if cursor == b"0":
            return
        await asyncio.sleep(0)


async def _record(manager: CacheManager, report: CleanupReport) -> None:
    fields: dict[str, str | int | float] = {
        "started": f"{time.time() - report.seconds:.3f}",
        "seconds": f"{report.seconds:.3f}",
        "scanned": report.scanned,
        "bounded": report.bounded,
        "error": report.error,
        **report.freed,
    }
    await record_run(manager, JOB, new_run_id(), fields)
    logger.info(
        "action=cleaned_up scanned=%d freed=%d bounded=%d seconds=%.3f",
        report.scanned,
        report.total,
        report.bounded,
        report.seconds,
        extra={"action": "cleaned_up"},
    )


def _raw(name: str) -> bytes:
    """A key as it is in Redis, even if it was no UTF-8."""
    return name.encode(errors="surrogateescape")


def _number(value: Any) -> float:
    """A stored number; what is none is as old as can be."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
