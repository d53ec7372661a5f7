"""How a read that can load is answered: from the cache, by a load, or from the cache while a load goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from stoker.core.counters import TypeCounters
from stoker.core.loaders import returned_by
from stoker.core.loads import Load, Loads
from stoker.core.policy import Policy
from stoker.core.storage import MISSING, Storage
from stoker.core.tier import State

R = TypeVar("R")


class Reading(NamedTuple, Generic[R]):
    """A value, and how it came about."""

    value: R
    outcome: Literal["hit", "stale", "miss"]
    """`miss`: it was loaded for this read, or for one that this read joined."""
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
            Exception: Whatever the loader raises.
        """
        lookup = await self._storage.look_up(needed.cache_type, needed.key, policy, counters)
        if lookup.entry is not None and lookup.state in {State.FRESH, State.STALE}:
            value = self._storage.decode(lookup, returned_by(needed.function), policy, counters)
            if value is not MISSING:
                counters.hits += 1
                age = max(time.time() - lookup.entry.created_ms / 1000, 0.0)
                if lookup.state is State.FRESH:
                    return Reading(value, "hit", age)
                counters.stale_hits += 1
                self._loads.run_behind(needed)
                return Reading(value, "stale", age)
        counters.misses += 1
        if lookup.killer:
            needed = replace(needed, killer=lookup.killer)
        return Reading((await self._loads.run(needed)).value, "miss", 0.0)
