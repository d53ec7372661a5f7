"""What a warm run would do: which of a type's hot keys are due, hottest first."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from stoker.core.entries.lookup import EntryState, State
from stoker.core.warming.buckets import Buckets
from stoker.core.warming.hotkeys import HotKey, ranking

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager
    from stoker.core.recipe import Recipe
    from stoker.core.settings.policy import Policy

#: Reasons that a record tells apart; more count as "other".
MOST_REASONS = 20

#: Keys whose stored state is asked for at once.
PEEK_KEYS = 200

Status: TypeAlias = Literal["done", "disabled", "paused", "busy", "interrupted", "unreachable"]


@dataclass(slots=True)
class WarmRun:
    """What one run planned, did, and why not more."""

    id: str
    cache_type: str
    started: float
    """Unix time."""
    trace: str
    status: Status = "done"
    """`disabled`: the policy says so; `busy`: another run of the type is under way; `interrupted`: paused,
    or its lock was lost, before it was through; `unreachable`: the server did not answer."""
    ranked: int = 0
    """Keys that are hot enough."""
    planned: int = 0
    """Of those, keys that were due."""
    loaded: int = 0
    """Keys that were loaded and stored."""
    refused: int = 0
    """Keys that were loaded and not stored: an invalidation or a younger load came first."""
    failed: int = 0
    """Keys whose loader failed."""
    skipped: int = 0
    """Due keys that were left alone: no recipe, an unknown loader, one that kept failing."""
    deferred: int = 0
    """Due keys that the budget, the time or an interruption left to the next run."""
    seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    """How often each reason for a failure or a skip occurred."""

    def count(self, reason: str) -> None:
        """Count a reason; how many are told apart is bounded."""
        known = reason in self.reasons or len(self.reasons) < MOST_REASONS
        name = reason if known else "other"
        self.reasons[name] = self.reasons.get(name, 0) + 1

    def fields(self) -> dict[str, str | int | float]:
        """The run as a record."""
        return {
            "cache_type": self.cache_type,
            "status": self.status,
            "started": f"{self.started:.3f}",
            "seconds": f"{self.seconds:.3f}",
            "ranked": self.ranked,
            "planned": self.planned,
            "loaded": self.loaded,
            "refused": self.refused,
            "failed": self.failed,
            "skipped": self.skipped,
            "deferred": self.deferred,
            "trace": self.trace,
            "reasons": json.dumps(self.reasons, sort_keys=True),
        }


@dataclass(frozen=True, slots=True)
class Job:
    """A key to load."""

    key: str
    recipe: Recipe
    expected: float
    """λT: requests expected within one TTL."""
    killer: int
    """Position of the record that killed the old entry, 0 where none did."""


def horizon(ttl: float, ahead: float, interval: float | None) -> float:
    """Return the seconds of fresh life below which an entry is due.

    At least the policy's share of the TTL, and enough that nothing expires before the next run, if that
    comes after the same interval as this one; never more than half the TTL for that reason.

    Args:
        ttl: Seconds the entry was fresh for when it was stored.
        ahead: The policy's share, 0 to 1.
        interval: Seconds since the run before this one; None where there was none.
    """
    share = ttl * ahead
    return share if interval is None else max(share, min(1.5 * interval, ttl / 2))


def is_due(state: EntryState | None, ahead: float, interval: float | None) -> bool:
    """Say whether an entry is gone, dead, stale, or about to expire."""
    if state is None or state.state is not State.FRESH:
        return True
    return state.ttl_left < horizon(state.ttl, ahead, interval)


async def plan(manager: CacheManager, run: WarmRun, limit: int, interval: float | None) -> list[Job]:
    """Return what is due among a type's hottest keys, hottest first; counts go to `run`.

    `interval` is the time since the run before, in seconds.

    Raises:
        LinkError: The server can't be reached.
    """
    policy = manager.policy(run.cache_type)
    half_life = Buckets.of(policy).half_life
    hot = [
        item
        for item in await ranking(manager, run.cache_type, limit)
        if item.heat.expected(policy.ttl, half_life) >= policy.warm.min_requests
    ]
    run.ranked = len(hot)
    jobs: list[Job] = []
    for at in range(0, len(hot), PEEK_KEYS):
        part = hot[at : at + PEEK_KEYS]
        states = await manager.peek(run.cache_type, [item.key for item in part])
        jobs += _due_jobs(run, part, states, policy, interval)
    return sorted(jobs, key=lambda job: -job.expected)


def _due_jobs(
    run: WarmRun, hot: list[HotKey], states: list[EntryState | None], policy: Policy, interval: float | None
) -> list[Job]:
    jobs: list[Job] = []
    for item, state in zip(hot, states, strict=True):
        if not is_due(state, policy.warm.ahead, interval):
            continue
        run.planned += 1
        if item.recipe is None:
            run.skipped += 1
            run.count("no recipe")
            continue
        expected = item.rate * (state.ttl if state is not None and state.ttl > 0 else policy.ttl)
        jobs.append(Job(item.key, item.recipe, expected, 0 if state is None else state.killer))
    return jobs
