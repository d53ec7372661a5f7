"""An entry's tiers as one: where values become entries, and entries values."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import Any

from stoker.core.codec import UnstorableError, decode_payload, encode_value
from stoker.core.commits import ALWAYS, TAIL, Commit, Commits
from stoker.core.config import CacheConfig
from stoker.core.counters import SAMPLE_EVERY, Counters, TypeCounters
from stoker.core.entry import FLAG_NONE, HEADER_BYTES, Entry, pack_entry
from stoker.core.errors import EntryError, LinkError
from stoker.core.policy import Policy
from stoker.core.position import START
from stoker.core.tier import Lookup, RedisTier, State

logger = logging.getLogger(__name__)

#: Stands for a value that is not there; `None` is a value.
MISSING: Any = object()


class Storage:
    """Looks entries up in the tiers of their type, and stores them there."""

    def __init__(self, config: CacheConfig, tier: RedisTier, commits: Commits, counters: Counters) -> None:
        self._config = config
        self._tier = tier
        self._commits = commits
        self._counters = counters
        self._unstorable: set[tuple[str, str]] = set()
        self._reads = 0

    # -- reading ----------------------------------------------------------------------------------

    async def look_up(self, cache_type: str, key: str, policy: Policy, counters: TypeCounters) -> Lookup:
        """Find an entry, and count how it stands."""
        self._reads += 1
        began = 0.0 if self._reads % SAMPLE_EVERY else time.perf_counter()
        try:
            lookup = await self._tier.ask(cache_type, key, policy)
        except LinkError:
            lookup = Lookup(State.UNREACHABLE)
        if lookup is None:
            lookup = await self._tier.fetch(cache_type, key, policy)
        if began:
            counters.durations["get"].observe(time.perf_counter() - began)
        if lookup.state is not State.FRESH:
            _count(lookup, counters)
        return lookup

    async def look_up_many(
        self, cache_type: str, keys: Sequence[str], policy: Policy, counters: TypeCounters
    ) -> list[Lookup]:
        """Find entries, in one round trip for all; count how they stand."""
        lookups = await self._tier.fetch_many(cache_type, keys, policy)
        for lookup in lookups:
            if lookup.state is not State.FRESH:
                _count(lookup, counters)
        return lookups

    def decode(self, lookup: Lookup, into: Any, policy: Policy, counters: TypeCounters) -> Any:
        """Return the value of what was found, as `into`; `MISSING` where there is none to be had."""
        data = lookup.data
        if not data:
            return MISSING
        flags = data[3]
        if flags & FLAG_NONE:
            counters.negative_hits += 1
            return None
        try:
            payload = data[HEADER_BYTES + (data[44] << 8 | data[45]) :]
            return decode_payload(flags, payload, into, policy.max_entry)
        except EntryError as error:
            counters.undecodable += 1
            logger.debug("action=undecodable reason=%s", error, extra={"action": "undecodable"})
            return MISSING

    # -- writing ----------------------------------------------------------------------------------

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
        if not epoch:
            self._counters.of(cache_type).sets_refused += 1
            return False
        return await self._store(cache_type, key, value, tags, epoch, born, ttl, ALWAYS)

    async def store_now(
        self, cache_type: str, key: str, value: Any, tags: tuple[bytes, ...], *, ttl: float | None
    ) -> bool:
        """Store a value that the caller vouches for now: it is stamped with the log's end."""
        return await self._store(cache_type, key, value, tags, 0, START, ttl, TAIL)

    async def _store(
        self,
        cache_type: str,
        key: str,
        value: Any,
        tags: tuple[bytes, ...],
        epoch: int,
        born: int,
        ttl: float | None,
        condition: bytes,
    ) -> bool:
        policy, counters = self._config.types[cache_type], self._counters.of(cache_type)
        try:
            flags, payload = encode_value(value, policy)
        except UnstorableError as error:
            counters.unstorable += 1
            self._report_unstorable(cache_type, value, error)
            return False
        seconds = self._seconds(policy, value, ttl)
        now = time.time()
        entry = Entry(epoch, born, int(now * 1000), int((now + seconds) * 1000), flags, tags, payload)
        kept_ms = int((seconds + max(policy.stale, policy.fail_safe)) * 1000)
        commit = await self._commits.commit(cache_type, key, pack_entry(entry), kept_ms, condition)
        if commit is Commit.STORED:
            counters.sets += 1
            return True
        counters.sets_refused += 1
        return False

    @staticmethod
    def _seconds(policy: Policy, value: Any, ttl: float | None) -> float:
        """How long a value is fresh, with its jitter."""
        seconds = ttl if ttl is not None else policy.ttl
        if ttl is None and value is None and policy.negative_ttl is not None:
            seconds = policy.negative_ttl
        return seconds * (1 - policy.jitter * random.random())  # noqa: S311  no secret, only spread

    def _report_unstorable(self, cache_type: str, value: Any, error: UnstorableError) -> None:
        """One line for each kind of value, not one for each value."""
        kind = (cache_type, type(value).__name__)
        if kind not in self._unstorable:
            self._unstorable.add(kind)
            logger.warning(
                "action=unstorable cache_type=%s reason=%s", cache_type, error, extra={"action": "unstorable"}
            )


def _count(lookup: Lookup, counters: TypeCounters) -> None:
    if lookup.state is State.DEAD:
        counters.dead += 1
    elif lookup.state is State.UNDECODABLE:
        counters.undecodable += 1
    elif lookup.state is State.UNREACHABLE:
        counters.unreachable += 1
