"""How a read that can load is answered: from the cache, by a load, or from the cache while a load goes on.

A fresh entry is a hit; one that is about to expire is loaded again behind the answer. An entry past its TTL
is served at once within the type's `stale` window, and loaded again behind the answer. After that, within
`fail_safe`, it is what is left to answer with: when the loader fails, failed a moment ago, or takes longer
than `soft_timeout`. What was invalidated is none of these, unless a type says `serve_dead_on_error`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from stoker.core.counters import TypeCounters
from stoker.core.entry import Entry
from stoker.core.errors import UsageError
from stoker.core.loaders import returned_by
from stoker.core.loads import Load, Loads
from stoker.core.policy import Policy
from stoker.core.storage import MISSING, Storage
from stoker.core.tier import Lookup, State

R = TypeVar("R")

#: Where an entry's stored form says when it was stored: it is not taken apart for that.
CREATED = slice(28, 36)


class Reading(NamedTuple, Generic[R]):
    """A value, and how it came about."""

    value: R
    outcome: Literal["hit", "stale", "miss"]
    """`stale`: it is past its TTL, and is being loaded again, or could not be. `miss`: it was loaded for this
    read, or for one that this read joined."""
    age: float
    """Seconds since it was stored."""


class Serving:
    """Answers reads that bring a loader."""

    def __init__(self, storage: Storage, loads: Loads) -> None:
        self._storage = storage
        self._loads = loads

    async def read(self, needed: Load, policy: Policy, counters: TypeCounters) -> Reading[Any]:
        """Answer a read.

        Raises:
            Exception: Whatever the loader raises, where there is nothing else to answer with.
        """
        lookup = await self._storage.look_up(needed.cache_type, needed.key, policy, counters)
        if lookup.state is State.FRESH:
            value = self._storage.decode(lookup, returned_by(needed.function), policy, counters)
            if value is not MISSING:
                counters.hits += 1
                if policy.early and is_early(lookup, policy):
                    self._refresh(needed, lookup, counters)
                return Reading(value, "hit", age_of(lookup))
        elif may_answer(lookup, policy):
            value = self._storage.decode(lookup, returned_by(needed.function), policy, counters)
            if value is not MISSING:
                fallback = Reading[Any](value, "stale", age_of(lookup))
                if not is_at_once(lookup, policy):
                    return await self._read_safely(needed, lookup, fallback, policy, counters)
                counters.hits += 1
                counters.stale_hits += 1
                self._refresh(needed, lookup, counters)
                return fallback
        counters.misses += 1
        return await self._load(needed, lookup)

    async def _load(self, needed: Load, lookup: Lookup) -> Reading[Any]:
        loaded = await self._loads.run(replace(needed, lookup=lookup, killer=lookup.killer))
        return Reading(loaded.value, "miss", loaded.age)

    async def _read_safely(
        self, needed: Load, lookup: Lookup, fallback: Reading[Any], policy: Policy, counters: TypeCounters
    ) -> Reading[Any]:
        """Load, or answer with what is left when that fails or takes too long."""
        failing = self._loads.failing
        if failing.throttled(needed.name):
            counters.throttled += 1
        else:
            limit = asyncio.timeout(self._patience(needed, lookup, policy))
            try:
                async with limit:
                    reading = await self._load(needed, lookup)
            except UsageError:
                raise
            except Exception as error:  # noqa: BLE001  whatever the loader raises
                if limit.expired() and isinstance(error, TimeoutError):
                    counters.soft_timeouts += 1
                else:
                    failing.swallowed(needed.cache_type, error, policy.fail_safe_throttle)
            else:
                counters.misses += 1
                return reading
        counters.hits += 1
        counters.stale_hits += 1
        counters.fail_safe_serves += 1
        return fallback

    def _patience(self, needed: Load, lookup: Lookup, policy: Policy) -> float | None:
        """Seconds that a load, from its start, may keep a caller waiting who has a stale entry to go with."""
        if policy.soft_timeout is None or lookup.state is not State.STALE:
            return None
        return max(policy.soft_timeout - self._loads.flights.age(*needed.name), 0.0)

    def _refresh(self, needed: Load, lookup: Lookup, counters: TypeCounters) -> None:
        """Load behind an answer, if nobody does."""
        if self._loads.failing.throttled(needed.name):
            counters.throttled += 1
        else:
            self._loads.run_behind(replace(needed, lookup=lookup))


def age_of(lookup: Lookup) -> float:
    """Seconds since what was found was stored."""
    if lookup.data:
        created_ms = int.from_bytes(lookup.data[CREATED])
    elif lookup.entry is not None:
        created_ms = lookup.entry.created_ms
    else:
        return 0.0
    return max(time.time() - created_ms / 1000, 0.0)


def is_early(lookup: Lookup, policy: Policy) -> bool:
    """Whether a fresh entry has so little of its TTL left that it is to be loaded again."""
    entry = lookup.entry
    if entry is None:
        return False
    left_ms = entry.fresh_until_ms - time.time() * 1000
    return left_ms < policy.early * (entry.fresh_until_ms - entry.created_ms)


def may_answer(lookup: Lookup, policy: Policy) -> bool:
    """Whether an entry that is not fresh may be served at all, if only because there is nothing else."""
    entry = lookup.entry
    if entry is None:
        return False
    if lookup.state is State.STALE:
        return _overdue(entry) <= max(policy.stale, policy.fail_safe)
    return lookup.state is State.DEAD and policy.serve_dead_on_error and _overdue(entry) <= policy.fail_safe


def is_at_once(lookup: Lookup, policy: Policy) -> bool:
    """Whether an entry that may answer does so without waiting for its load."""
    entry = lookup.entry
    return entry is not None and lookup.state is State.STALE and _overdue(entry) <= policy.stale


def _overdue(entry: Entry) -> float:
    """Seconds since its TTL ended; negative before."""
    return time.time() - entry.fresh_until_ms / 1000
