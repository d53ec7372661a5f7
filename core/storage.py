"""An entry's tiers as one: where values become entries, and entries values."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from stoker.core.codec import UnstorableError, decode_payload, decoder_of, encode_value
from stoker.core.commits import ALWAYS, HEAD, TAIL, Commit, Commits
from stoker.core.config import CacheConfig
from stoker.core.counters import SAMPLE_EVERY, Counters, TypeCounters
from stoker.core.entry import FLAG_NONE, FROZEN_BYTES, HEADER_BYTES, Entry, pack_entry
from stoker.core.errors import EntryError, LinkError
from stoker.core.log import Log
from stoker.core.memory import MISSING, MemoryTier
from stoker.core.policy import Policy
from stoker.core.position import START
from stoker.core.scopes import Copy, Key
from stoker.core.tier import FETCH_BATCH, Lookup, RedisTier, State

__all__ = ["MISSING", "Storage"]

logger = logging.getLogger(__name__)


class Storage:
    """Looks entries up in the tiers of their type, and stores them there."""

    def __init__(
        self,
        config: CacheConfig,
        log: Log,
        memory: MemoryTier,
        tier: RedisTier,
        commits: Commits,
        counters: Counters,
    ) -> None:
        self._config = config
        self._log = log
        self._memory = memory
        self._tier = tier
        self._commits = commits
        self._counters = counters
        self._in_memory = frozenset(name for name, policy in config.types.items() if policy.in_memory)
        self._unstorable: set[tuple[str, str]] = set()
        self._reads = 0

    # -- reading ----------------------------------------------------------------------------------

    async def look_up(self, cache_type: str, key: str, policy: Policy, counters: TypeCounters) -> Lookup:
        """Find an entry, and count how it stands."""
        if cache_type in self._in_memory:
            return await self._look_up_near(cache_type, key, policy, counters)
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
        return lookup if lookup.state is State.FRESH else _counted(lookup, counters)

    async def _look_up_near(
        self, cache_type: str, key: str, policy: Policy, counters: TypeCounters
    ) -> Lookup:
        """Find an entry of a type that is kept in memory, too, or there alone."""
        held = self._memory.look_up(cache_type, key)
        if held is not None:
            counters.memory_hits += 1
            return held
        if not policy.in_redis:
            return _counted(await self._look_up_here(cache_type, key, policy), counters)
        return await self.look_up_past_memory(cache_type, key, policy, counters)

    async def look_up_past_memory(
        self, cache_type: str, key: str, policy: Policy, counters: TypeCounters
    ) -> Lookup:
        """Find an entry by a strict read of the server, whatever is in memory; count how it stands."""
        lookup = await self._tier.fetch(cache_type, key, policy)
        if policy.in_memory:
            lookup = self._beside(cache_type, key, policy, lookup)
        return lookup if lookup.state is State.FRESH else _counted(lookup, counters)

    async def look_up_many(
        self, cache_type: str, keys: Sequence[str], policy: Policy, counters: TypeCounters
    ) -> list[Lookup]:
        """Find entries, in one round trip for all; count how they stand."""
        if not policy.in_memory:
            lookups = await self._tier.fetch_many(cache_type, keys, policy)
            for lookup in lookups:
                if lookup.state is not State.FRESH:
                    _counted(lookup, counters)
            return lookups
        found = {key: held for key in keys if (held := self._memory.look_up(cache_type, key)) is not None}
        counters.memory_hits += len(found)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing and policy.in_redis:
            fetched = await self._tier.fetch_many(cache_type, missing, policy)
            for key, lookup in zip(missing, fetched, strict=True):
                found[key] = _counted(self._beside(cache_type, key, policy, lookup), counters)
        elif missing:
            for key in missing:
                found[key] = _counted(await self._look_up_here(cache_type, key, policy), counters)
        return [found[key] for key in keys]

    async def read_many(
        self, cache_type: str, keys: Sequence[str], into: Any, policy: Policy, counters: TypeCounters
    ) -> dict[str, Any]:
        """Return the values of the keys that have a fresh one, decoded as `into`."""
        values: dict[str, Any] = {}
        if cache_type in self._in_memory or self._tier.spread:
            lookups = await self.look_up_many(cache_type, keys, policy, counters)
            for key, lookup in zip(keys, lookups, strict=True):
                self._read_into(values, key, lookup, into, policy, counters)
            return values
        tier, decode = self._tier, decoder_of(into)
        for start in range(0, len(keys), FETCH_BATCH):
            batch = keys[start : start + FETCH_BATCH]
            stored, _ = await tier.fetch_stored(cache_type, batch, policy)
            if isinstance(stored, State):
                counters.unreachable += len(batch)
                continue
            is_fresh, now_ms = tier.is_plainly_fresh, time.time() * 1000
            for key, data in zip(batch, stored, strict=True):
                # Byte 3 has the flags, 0 for MessagePack as it is; bytes 44 and 45 the length of the tags.
                if data and not data[3] and is_fresh(data, now_ms):
                    try:
                        values[key] = decode(data[HEADER_BYTES + (data[44] << 8 | data[45]) :])
                        continue
                    except Exception:  # noqa: BLE001, S110  validators raise what they like; counted below
                        pass
                lookup = _counted(tier.judge(cache_type, key, data, policy), counters)
                self._read_into(values, key, lookup, into, policy, counters)
        return values

    def _read_into(
        self,
        values: dict[str, Any],
        key: str,
        lookup: Lookup,
        into: Any,
        policy: Policy,
        counters: TypeCounters,
    ) -> None:
        if lookup.state is State.FRESH:
            value = self.decode(lookup, into, policy, counters)
            if value is not MISSING:
                values[key] = value

    async def _look_up_here(self, cache_type: str, key: str, policy: Policy) -> Lookup:
        """Find an entry of a type that is kept in memory alone, by a strict look at the log."""
        if await self._log.catch_up():
            return self._memory.judge(cache_type, key)
        return self._memory.in_outage(cache_type, key, policy) or Lookup(State.UNREACHABLE)

    def _beside(self, cache_type: str, key: str, policy: Policy, lookup: Lookup) -> Lookup:
        """Keep in memory what the server had; or serve from it what the server can't."""
        if lookup.state is State.FRESH:
            if (entry := lookup.entry) is not None:
                self._memory.put(cache_type, key, entry, policy, max(lookup.checked, entry.born))
        elif lookup.state is State.UNREACHABLE:
            return self._memory.in_outage(cache_type, key, policy) or lookup
        else:
            self._memory.remove(cache_type, key)
        return lookup

    def decode(self, lookup: Lookup, into: Any, policy: Policy, counters: TypeCounters) -> Any:
        """Return the value of what was found, as `into`; `MISSING` where there is none to be had."""
        if lookup.held is not None:
            counters.negative_hits += lookup.held.entry.is_none
            return self._memory.value_of(lookup.held, into)
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
        condition: bytes = ALWAYS,
    ) -> bool:
        """Store a value that was born at a position; say whether it was stored.

        Args:
            cache_type: The key's type.
            key: The key.
            value: What was loaded.
            tags: Its tags, encoded.
            epoch: The log's epoch when its load began; 0 when it was not known.
            born: The log's position when its load began.
            ttl: Seconds it is fresh, where they differ from the type's.
            condition: What must hold beside; see `commits`.
        """
        policy, counters = self._config.types[cache_type], self._counters.of(cache_type)
        entry = self._encode(cache_type, value, tags, epoch, born, ttl)
        if entry is None:
            return False
        commit = Commit.UNREACHABLE
        if policy.in_redis and (epoch or condition == TAIL):
            kept_ms = self._kept_ms(policy, entry)
            commit = await self._commits.commit(cache_type, key, pack_entry(entry), kept_ms, condition)
        stored = commit is Commit.STORED
        if policy.in_memory and (stored or commit is Commit.UNREACHABLE):
            stored = self._store_here(cache_type, key, value, entry, policy) or stored
        if stored:
            counters.sets += 1
        else:
            counters.sets_refused += 1
        return stored

    async def store_now(
        self, cache_type: str, key: str, value: Any, tags: tuple[bytes, ...], *, ttl: float | None
    ) -> bool:
        """Store a value that the caller vouches for now: it is stamped with the log's end.

        Where other processes may have the key in memory, the log's end is a record that tells them.
        """
        if not self._config.types[cache_type].in_memory:
            return await self.store(cache_type, key, value, tags, 0, START, ttl=ttl, condition=TAIL)
        told = await self._log.tell(Key(cache_type, key))
        if not told:
            self._memory.remove(cache_type, key)
            self._counters.of(cache_type).sets_refused += 1
            return False
        return await self.store(cache_type, key, value, tags, self._log.epoch, told, ttl=ttl)

    async def store_if_absent(
        self,
        cache_type: str,
        key: str,
        value: Any,
        tags: tuple[bytes, ...],
        policy: Policy,
        *,
        ttl: float | None,
    ) -> bool:
        """Store a value if there is no fresh one; of several who try at once, one does."""
        if not policy.in_redis:
            lookup = await self._look_up_here(cache_type, key, policy)
        else:
            lookup = await self._tier.fetch(cache_type, key, policy)
        if lookup.state in {State.FRESH, State.UNREACHABLE, State.UNDECODABLE}:
            return False
        condition = HEAD + lookup.data[:FROZEN_BYTES]
        log = self._log  # just read to its end
        return await self.store(
            cache_type, key, value, tags, log.epoch, log.known, ttl=ttl, condition=condition
        )

    async def store_many(
        self,
        cache_type: str,
        values: Mapping[str, Any],
        births: Mapping[str, tuple[int, int] | None],
        tags: tuple[bytes, ...],
        *,
        ttl: float | None,
    ) -> int:
        """Store values; say how many were.

        Args:
            cache_type: The keys' type.
            values: The values by key.
            births: By key, epoch and position where the value was born; None: vouched for now.
            tags: Tags of all of them, encoded.
            ttl: Seconds they are fresh, where they differ from the type's.
        """
        stores = [
            self.store_now(cache_type, key, value, tags, ttl=ttl)
            if (birth := births[key]) is None
            else self.store(cache_type, key, value, tags, *birth, ttl=ttl)
            for key, value in values.items()
        ]
        return sum(await asyncio.gather(*stores))

    def _store_here(self, cache_type: str, key: str, value: Any, entry: Entry, policy: Policy) -> bool:
        """Keep an entry in memory; say whether it is there, where it is nowhere else."""
        log = self._log
        if not entry.epoch:
            # The server is away. What was loaded since is good for as long as `on_outage` says, unless the
            # process has seen another log meanwhile.
            if log.epoch or log.seen != entry.born or not policy.outage_seconds:
                return False
            entry.epoch = log.last_epoch
        given = MISSING if policy.in_redis or policy.memory_copies else value
        return self._memory.put(cache_type, key, entry, policy, entry.born, given=given)

    async def touch(self, cache_type: str, key: str, policy: Policy, seconds: float) -> bool:
        """Give a fresh entry another time to live, in place; say whether there was one."""
        counters = self._counters.of(cache_type)
        if not policy.in_redis:
            lookup = await self._look_up_here(cache_type, key, policy)
        else:
            lookup = await self._tier.fetch(cache_type, key, policy)
        entry = lookup.entry
        if lookup.state is not State.FRESH or entry is None:
            _counted(lookup, counters)
            return False
        before, after = entry.fresh_until_ms, int((time.time() + seconds) * 1000)
        if policy.in_redis:
            kept_ms = int((seconds + max(policy.stale, policy.fail_safe)) * 1000)
            if not await self._tier.touch(cache_type, key, lookup.data, after, kept_ms):
                return False
        if policy.in_memory:
            self._memory.touch(cache_type, key, after)
            if after < before and policy.in_redis:
                # Only now: a copy that is made between would have the old time to live.
                await self._log.tell(Copy(cache_type, key))
        return True

    def _encode(
        self, cache_type: str, value: Any, tags: tuple[bytes, ...], epoch: int, born: int, ttl: float | None
    ) -> Entry | None:
        """Make an entry of a value; None when it can't be stored."""
        policy = self._config.types[cache_type]
        flags, payload = FLAG_NONE if value is None else 0, b""
        if policy.in_redis or policy.memory_copies:
            try:
                flags, payload = encode_value(value, policy)
            except UnstorableError as error:
                self._counters.of(cache_type).unstorable += 1
                self._report_unstorable(cache_type, value, error)
                return None
        seconds, now = self._seconds(policy, value, ttl), time.time()
        return Entry(epoch, born, int(now * 1000), int((now + seconds) * 1000), flags, tags, payload)

    @staticmethod
    def _kept_ms(policy: Policy, entry: Entry) -> int:
        """Milliseconds after which the server drops an entry: when it may not even be served stale."""
        return entry.fresh_until_ms - entry.created_ms + int(max(policy.stale, policy.fail_safe) * 1000)

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


def _counted(lookup: Lookup, counters: TypeCounters) -> Lookup:
    """Count how an entry stands that is not fresh."""
    if lookup.state is State.DEAD:
        counters.dead += 1
    elif lookup.state is State.UNDECODABLE:
        counters.undecodable += 1
    elif lookup.state is State.UNREACHABLE:
        counters.unreachable += 1
    return lookup
