"""Warming: hot keys are loaded again before they expire, so that no reader waits for them.

With λ a key's request rate and T its TTL, a refresh saves λT / (1 + λT) misses and costs 1 / (1 + λT)
extra loads: a run takes a type's hottest keys whose λT reaches `min_requests`, looks at what is stored
of each, and loads those that are gone, dead, stale or about to expire, hottest first, until its budget
(loads per second times its time) is spent. What it writes goes through the same commit as any load: an
invalidation that overtakes it wins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stoker.core.errors import LinkError, ReplyError, UnknownLoaderError
from stoker.core.warming.pauses import is_paused
from stoker.core.warming.planning import MOST_REASONS, Job, WarmRun, horizon, plan
from stoker.core.warming.runs import KEPT_SECONDS, RunLock, add_totals, new_run_id, record_run

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager
    from stoker.core.settings.policy import Policy

__all__ = ["FAILURES_IN_A_ROW", "Pacer", "WarmRun", "warm"]

logger = logging.getLogger(__name__)

#: The job's name in run records.
JOB = "warm"

#: A run starts no load after so many seconds (less where the type's window is shorter).
LONGEST_RUN_SECONDS = 30.0

#: A load that takes longer is given up.
LOAD_SECONDS = 30.0

#: After so many failures of a loader in a row, the run leaves its other keys alone.
FAILURES_IN_A_ROW = 20

#: Of the runs of a type that found nothing due, one in so many seconds is recorded.
IDLE_SECONDS = 60

#: A pacer that has fallen behind catches up with at most so many seconds' worth of loads.
CATCH_UP_SECONDS = 0.05


class Pacer:
    """Spaces starts evenly at a rate per second, without a burst at the start."""

    def __init__(self, rate: float) -> None:
        self._step = 1.0 / rate
        self._next = time.monotonic()

    async def wait(self) -> None:
        """Wait for this start's turn."""
        now = time.monotonic()
        turn = max(self._next, now - CATCH_UP_SECONDS)
        self._next = turn + self._step
        if turn > now:
            await asyncio.sleep(turn - now)


async def warm(
    manager: CacheManager,
    cache_type: str,
    *,
    limit: int | None = None,
    seconds: float | None = None,
    trace: str | None = None,
) -> WarmRun:
    """Warm a type once: plan, load, record.

    Cache trouble and failing loaders are told in the run's `status` and `reasons`, never raised.

    Args:
        manager: The cache, with the loaders' modules imported.
        cache_type: The type to warm.
        limit: Consider so many of the hottest keys, instead of the policy's `keys`.
        seconds: Start no load later than this; by default the type's window, 30 s at most.
        trace: Id for the run's record; its own by default.

    Raises:
        UsageError: There is no such type.
    """
    policy, run_id = manager.policy(cache_type), new_run_id()
    run = WarmRun(run_id, cache_type, time.time(), trace or f"warm-{run_id}")
    if policy.warm.mode == "none":
        run.status = "disabled"
        return run
    began = time.monotonic()
    work = _Work(manager, run, policy)
    try:
        async with RunLock(manager, JOB, cache_type, on_lost=work.stop) as lock:
            if not lock.held:
                run.status = "busy"
            elif await is_paused(manager, cache_type):
                run.status = "paused"
            else:
                await work.do(limit or policy.warm.keys, seconds)
            run.seconds = time.monotonic() - began
            await _record(manager, run)
    except (LinkError, ReplyError) as error:
        run.status = "unreachable"
        run.count(type(error).__name__)
        run.seconds = time.monotonic() - began
        logger.warning(
            "action=warm_unreachable cache_type=%s reason=%s",
            cache_type,
            error,
            extra={"action": "warm_unreachable"},
        )
    return run


class _Work:
    """One run under way."""

    def __init__(self, manager: CacheManager, run: WarmRun, policy: Policy) -> None:
        self._manager = manager
        self._run = run
        self._policy = policy
        self._stopped: str | None = None
        self._in_a_row: Counter[str] = Counter()
        self._reported: set[tuple[str, str]] = set()

    def stop(self, reason: str) -> None:
        """Start no further load."""
        if self._stopped is None:
            self._stopped = reason

    async def do(self, limit: int, seconds: float | None) -> None:
        """Plan and load."""
        interval, policy = await self._interval(), self._policy
        if seconds is None:
            window = horizon(policy.ttl, policy.warm.ahead, interval)
            seconds = min(LONGEST_RUN_SECONDS, max(window, 1.0))
        jobs = await plan(self._manager, self._run, limit, interval)
        budget = max(int(policy.warm.loads_per_second * seconds), 1)
        queue = iter(jobs[:budget])
        end = time.monotonic() + seconds
        pacer = Pacer(policy.warm.loads_per_second)
        watcher = asyncio.create_task(self._watch_pause(), name="stoker-warm-watch")
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(policy.warm.concurrency, len(jobs))):
                    group.create_task(self._work(queue, pacer, end))
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        self._run.deferred += len(jobs[budget:])
        if self._stopped is not None:
            self._run.status = "interrupted"
            self._run.count(self._stopped)

    async def _interval(self) -> float | None:
        """Seconds since the type's last run started, None where that isn't known."""
        name = self._manager.keys.run_last(JOB, self._run.cache_type)
        last: bytes | None = await self._manager.link.call(
            "SET", name, f"{self._run.started:.3f}", "EX", KEPT_SECONDS, "GET"
        )
        return max(self._run.started - float(last), 0.0) if last else None

    async def _watch_pause(self) -> None:
        while self._stopped is None:
            await asyncio.sleep(1.0)
            try:
                if await is_paused(self._manager, self._run.cache_type):
                    self.stop("paused")
            except (LinkError, ReplyError):
                continue  # the loads themselves will notice

    async def _work(self, queue: Iterator[Job], pacer: Pacer, end: float) -> None:
        """Load one job after another until there are none, or no time, or no leave."""
        for job in queue:
            if self._in_a_row[job.recipe.loader] >= FAILURES_IN_A_ROW:
                self._run.skipped += 1
                self._run.count(f"loader {job.recipe.loader} keeps failing")
                continue
            if self._stopped is None and time.monotonic() < end:
                await pacer.wait()
            if not self._manager.link.ready:
                self.stop("server unreachable")  # what is loaded now could not be stored
            if self._stopped is not None or time.monotonic() >= end:
                self._run.deferred += 1
                continue
            await self._load(job)

    async def _load(self, job: Job) -> None:
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                loaded = await self._manager.reload(
                    self._run.cache_type, job.key, job.recipe, killer=job.killer
                )
        except UnknownLoaderError as error:
            self._run.skipped += 1
            self._run.count("unknown loader")
            self._report(job, error)
        except LinkError as error:
            self._fail(job, error)
            self.stop("server unreachable")
        except Exception as error:  # noqa: BLE001
            # A loader may raise anything; the other keys of the run are none the worse for it.
            self._fail(job, error)
        else:
            self._in_a_row[job.recipe.loader] = 0
            if loaded.void:
                self._run.skipped += 1
                self._run.count("being loaded elsewhere")
            elif loaded.stored:
                self._run.loaded += 1
            else:
                self._run.refused += 1
                self._run.count("not stored")

    def _fail(self, job: Job, error: BaseException) -> None:
        self._in_a_row[job.recipe.loader] += 1
        self._run.failed += 1
        self._run.count(type(error).__name__)
        self._report(job, error)

    def _report(self, job: Job, error: BaseException) -> None:
        """Log the first error of each kind and loader; the record has the counts."""
        kind = (job.recipe.loader, type(error).__name__)
        if kind in self._reported or len(self._reported) >= MOST_REASONS:
            return
        self._reported.add(kind)
        logger.warning(
            "action=warm_load_failed cache_type=%s loader=%s key=%s trace=%s reason=%s: %s",
            self._run.cache_type,
            job.recipe.loader,
            job.key,
            self._run.trace,
            type(error).__name__,
            error,
            extra={"action": "warm_load_failed"},
        )


async def _record(manager: CacheManager, run: WarmRun) -> None:
    """Count the run, and record it if it had something to do; of those that had not, one a minute."""
    notable = run.planned > 0 or run.status == "interrupted"
    if notable or run.status == "done":
        marker = ("SET", manager.keys.run_idle(JOB, run.cache_type), run.id, "EX", IDLE_SECONDS)
        marked = await manager.link.call(*marker, *(() if notable else ("NX",)))
        if marked is not None:
            await record_run(manager, JOB, run.id, run.fields())
    outcomes = ("loaded", "refused", "failed", "skipped", "deferred")
    amounts = {f"{run.cache_type}|{name}": int(getattr(run, name)) for name in outcomes}
    amounts[f"{run.cache_type}|runs {run.status}"] = 1
    await add_totals(manager, JOB, amounts)
    if notable:
        logger.info(
            "action=warmed cache_type=%s status=%s planned=%d loaded=%d refused=%d failed=%d"
            " skipped=%d deferred=%d seconds=%.3f run=%s trace=%s",
            run.cache_type,
            run.status,
            run.planned,
            run.loaded,
            run.refused,
            run.failed,
            run.skipped,
            run.deferred,
            run.seconds,
            run.id,
            run.trace,
            extra={"action": "warmed"},
        )
