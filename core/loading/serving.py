"""How a read that can load is answered: from the cache, by a load, or from the cache while a load goes on.

A fresh entry is a hit; one that is about to expire is loaded again behind the answer. An entry past its TTL
is served at once within the type's `stale` window, and loaded again behind the answer. After that, within
`fail_safe`, it is what is left to answer with: when the loader fails, failed a moment ago, or takes longer
than `soft_timeout`. What was invalidated is none of these, unless a type says `serve_dead_on_error`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from stoker.core.counters import TypeCounters
from stoker.core.entries.codec import MISSING
from stoker.core.entries.entry import Entry
from stoker.core.entries.lookup import Lookup, State
from stoker.core.entries.storage import Storage
from stoker.core.errors import UsageError
from stoker.core.loading.batches import Batch, Batches
from stoker.core.loading.loaders import returned_by, values_returned_by
from stoker.core.loading.loads import Load, Loads
from stoker.core.loading.threads import has_thread
from stoker.core.settings.policy import Policy

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
        self._batches = Batches(loads)

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

    async def read_many(self, needed: Batch, policy: Policy, counters: TypeCounters) -> dict[str, Any]:
        """Answer a read of many keys: the values of those that have one.

        Args:
            needed: The keys, not looked up yet.
            policy: Their type's.
            counters: Their type's.

        Raises:
            Exception: Whatever the loader raises, where not all keys can be answered without it.
        """
        keys = list(needed.lookups)
        lookups = await self._storage.look_up_many(needed.cache_type, keys, policy, counters)
        into = values_returned_by(needed.function)
        found: dict[str, Any] = {}
        missing: dict[str, Lookup] = {}
        old: dict[str, Any] = {}
        behind: dict[str, Lookup] = {}
        for key, lookup in zip(keys, lookups, strict=True):
            fresh = lookup.state is State.FRESH
            usable = fresh or may_answer(lookup, policy)
            value = self._storage.decode(lookup, into, policy, counters) if usable else MISSING
            if value is MISSING:
                missing[key] = lookup
            elif fresh or is_at_once(lookup, policy):
                found[key] = value
                counters.stale_hits += not fresh
                if not fresh or (policy.early and is_early(lookup, policy)):
                    behind[key] = lookup
            else:
                missing[key], old[key] = lookup, value
        counters.hits += len(found)
        self._refresh_many(needed, behind, counters)
        if missing:
            found |= await self._load_many(replace(needed, lookups=missing), old, policy, counters)
        return {key: found[key] for key in keys if key in found}

    async def _load_many(
        self, needed: Batch, old: dict[str, Any], policy: Policy, counters: TypeCounters
    ) -> dict[str, Any]:
        """Load keys, or answer with what is left of them when that fails or takes too long."""
        failing, cache_type = self._loads.failing, needed.cache_type
        throttled = {key: value for key, value in old.items() if failing.throttled((cache_type, key))}
        counters.throttled += len(throttled)
        self._serve_old(len(throttled), counters)
        lookups = {key: lookup for key, lookup in needed.lookups.items() if key not in throttled}
        if not lookups:
            return throttled
        all_old = all(key in old for key in lookups)
        stale = all_old and all(lookup.state is State.STALE for lookup in lookups.values())
        counters.misses += 0 if all_old else len(lookups)
        limit = asyncio.timeout(policy.soft_timeout if stale else None)
        try:
            async with limit:
                loaded = await self._batches.run(replace(needed, lookups=lookups))
        except UsageError:
            raise
        except Exception as error:  # loaders raise what they like; there may be something older
            if not all_old:
                raise
            if limit.expired() and isinstance(error, TimeoutError):
                counters.soft_timeouts += 1
            else:
                failing.swallowed(cache_type, error, policy.fail_safe_throttle)
            self._serve_old(len(lookups), counters)
            return old
        counters.misses += len(lookups) if all_old else 0
        return {**throttled, **{key: result.value for key, result in loaded.items()}}

    def _serve_old(self, keys: int, counters: TypeCounters) -> None:
        counters.hits += keys
        counters.stale_hits += keys
        counters.fail_safe_serves += keys

    def _refresh_many(self, needed: Batch, lookups: dict[str, Lookup], counters: TypeCounters) -> None:
        """Load behind an answer what nobody loads."""
        failing = self._loads.failing
        if not has_thread(needed.function):
            return
        asleep = [key for key in lookups if failing.throttled((needed.cache_type, key))]
        counters.throttled += len(asleep)
        for key in asleep:
            del lookups[key]
        if lookups:
            self._batches.run_behind(replace(needed, lookups=lookups, behind=True))

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
                    if needed.answered is not None:
                        needed.answered.add_done_callback(lambda _: _go_on(limit, counters))
                    reading = await self._load(needed, lookup)
            except UsageError:
                raise
            except Exception as error:  # whatever the loader raises
                if needed.is_answered:
                    raise
                if limit.expired() and isinstance(error, TimeoutError):
                    counters.soft_timeouts += 1
                else:
                    failing.swallowed(needed.cache_type, error, policy.fail_safe_throttle)
            else:
                counters.misses += not needed.is_answered
                return reading
        self._serve_old(1, counters)
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
        elif has_thread(needed.function):
            self._loads.run_behind(replace(needed, lookup=lookup))


def _go_on(limit: asyncio.Timeout, counters: TypeCounters) -> None:
    """The answer has begun to come: the read is a miss, and its load may take its time."""
    counters.misses += 1
    with contextlib.suppress(RuntimeError):  # it was given up at this very moment
        limit.reschedule(None)


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
        return _overdue(entry) <= policy.kept_stale
    return lookup.state is State.DEAD and policy.serve_dead_on_error and _overdue(entry) <= policy.fail_safe


def is_at_once(lookup: Lookup, policy: Policy) -> bool:
    """Whether an entry that may answer does so without waiting for its load."""
    entry = lookup.entry
    return entry is not None and lookup.state is State.STALE and _overdue(entry) <= policy.stale


def _overdue(entry: Entry) -> float:
    """Seconds since its TTL ended; negative before."""
    return time.time() - entry.fresh_until_ms / 1000
