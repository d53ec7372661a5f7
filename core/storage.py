"""An entry's tiers as one: where values become entries, and entries values."""

from __future__ import annotations

import logging
import random
import time
from typing import Any

from stoker.core.codec import UnstorableError, decode_value, encode_value
from stoker.core.config import CacheConfig
from stoker.core.counters import SAMPLE_EVERY, Counters, TypeCounters
from stoker.core.entry import Entry
from stoker.core.errors import EntryError
from stoker.core.policy import Policy
from stoker.core.tier import Commit, Lookup, RedisTier, State

logger = logging.getLogger(__name__)

#: Stands for a value that is not there; `None` is a value.
MISSING: Any = object()


class Storage:
    """Looks entries up in the tiers of their type, and stores them there."""

    def __init__(self, config: CacheConfig, tier: RedisTier, counters: Counters) -> None:
        self._config = config
        self._tier = tier
        self._counters = counters
        self._unstorable: set[tuple[str, str]] = set()
        self._reads = 0

    async def look_up(self, cache_type: str, key: str, policy: Policy, counters: TypeCounters) -> Lookup:
        """Find an entry, and count how it stands."""
        self._reads += 1
        began = time.perf_counter() if self._reads % SAMPLE_EVERY == 0 else 0.0
        lookup = await self._tier.fetch(cache_type, key, policy)
        if began:
            counters.durations["get"].observe(time.perf_counter() - began)
        if lookup.state is State.DEAD:
            counters.dead += 1
        elif lookup.state is State.UNDECODABLE:
            counters.undecodable += 1
        elif lookup.state is State.UNREACHABLE:
            counters.unreachable += 1
        return lookup

    def decode(self, lookup: Lookup, into: Any, policy: Policy, counters: TypeCounters) -> Any:
        """Return the value of what was found, as `into`; `MISSING` where there is none to be had."""
        if lookup.entry is None:
            return MISSING
        if lookup.entry.is_none:
            counters.negative_hits += 1
        try:
            return decode_value(lookup.entry, into, policy.max_entry)
        except EntryError as error:
            counters.undecodable += 1
            logger.debug("action=undecodable reason=%s", error, extra={"action": "undecodable"})
            return MISSING

    async def store(
        self,
        cache_type: str,
        key: str,
        value: Any,
        tags: tuple[bytes, ...],
        epoch: int,
        born: int,
        *,
        ttl: float | None,
    ) -> bool:
        """Store a value that was born at a position; say whether it was stored.

        Args:
            cache_type: The key's type.
            key: The key.
            value: What was loaded.
            tags: Its tags, encoded.
            epoch: The log's epoch when its load began; 0 when it was not known, and nothing is stored.
            born: The log's position when its load began.
            ttl: Seconds it is fresh, where they differ from the type's.
        """
        policy, counters = self._config.types[cache_type], self._counters.of(cache_type)
        try:
            flags, payload = encode_value(value, policy)
        except UnstorableError as error:
            counters.unstorable += 1
            self._report_unstorable(cache_type, value, error)
            return False
        seconds = ttl if ttl is not None else policy.ttl
        if ttl is None and value is None and policy.negative_ttl is not None:
            seconds = policy.negative_ttl
        seconds *= 1 - policy.jitter * random.random()  # noqa: S311  no secret, only spread
        now = time.time()
        entry = Entry(epoch, born, int(now * 1000), int((now + seconds) * 1000), flags, tags, payload)
        answer = await self._tier.store(cache_type, key, entry, int((seconds + policy.stale) * 1000))
        if answer is Commit.STORED:
            counters.sets += 1
            return True
        counters.sets_refused += 1
        return False

    def _report_unstorable(self, cache_type: str, value: Any, error: UnstorableError) -> None:
        """One line for each kind of value, not one for each value."""
        kind = (cache_type, type(value).__name__)
        if kind not in self._unstorable:
            self._unstorable.add(kind)
            logger.warning(
                "action=unstorable cache_type=%s reason=%s", cache_type, error, extra={"action": "unstorable"}
            )
