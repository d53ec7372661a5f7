"""Finding entries in the tiers of their type, and making values of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from stoker.core.counters import SAMPLE_EVERY, Counters, TypeCounters
from stoker.core.entries.codec import MISSING, Decode, decode_payload, decoder_of, is_decodable
from stoker.core.entries.entry import FLAG_NONE, header_length
from stoker.core.entries.lookup import Lookup, State
from stoker.core.entries.memory import MemoryTier
from stoker.core.entries.tier import RedisTier, Sent
from stoker.core.errors import EntryError, UsageError
from stoker.core.log.fleet_log import Log
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.policy import Policy

logger = logging.getLogger(__name__)


class Finding:
    """Looks entries up in the tiers of their type."""

    def __init__(
        self,
        config: CacheConfig,
        log: Log,
        memory: MemoryTier,
        tier: RedisTier,
        counters: Counters,
        *,
        read_only: bool = False,
    ) -> None:
        self._read_only = read_only
        self._config = config
        self._log = log
        self._memory = memory
        self._tier = tier
        self._counters = counters
        self.in_memory = frozenset(name for name, policy in config.types.items() if policy.in_memory)

    # -- reading ----------------------------------------------------------------------------------

    async def look_up(self, cache_type: str, key: str, policy: Policy, counters: TypeCounters) -> Lookup:
        """Find an entry, and count how it stands."""
        if cache_type in self.in_memory:
            return await self._look_up_near(cache_type, key, policy, counters)
        if counters.hits % SAMPLE_EVERY:
            return counted(await self._tier.fetch(cache_type, key, policy), counters)
        began = time.perf_counter()
        lookup = await self._tier.fetch(cache_type, key, policy)
        counters.durations["get"].observe(time.perf_counter() - began)
        return counted(lookup, counters)

    async def read(self, cache_type: str, key: str, into: Any, policy: Policy, counters: TypeCounters) -> Any:
        """Return the value of a fresh entry, decoded as `into`; `MISSING` where there is none."""
        lookup = await self.look_up(cache_type, key, policy, counters)
        return await self._value_of(lookup, cache_type, key, into, policy, counters)

    async def read_on(
        self,
        reply: Any,
        sent: Sent,
        cache_type: str,
        key: str,
        into: Any,
        policy: Policy,
        counters: TypeCounters,
    ) -> Any:
        """As `read`, where the server was asked already, and its reply is not plainly the value."""
        tier = self._tier
        lookup = await tier.understand(reply, sent, cache_type, key, policy)
        if lookup is None:
            lookup = await tier.fetch(cache_type, key, policy)
        return await self._value_of(counted(lookup, counters), cache_type, key, into, policy, counters)

    async def _value_of(
        self, lookup: Lookup, cache_type: str, key: str, into: Any, policy: Policy, counters: TypeCounters
    ) -> Any:
        value = self._decode_fresh(lookup, into, policy, counters)
        if value is MISSING and lookup.held is not None and policy.in_redis:
            # What memory has was made into something else; the server has all of it.
            lookup = await self.look_up_past_memory(cache_type, key, policy, counters)
            value = self._decode_fresh(lookup, into, policy, counters)
        await self._unlink_unreadable(cache_type, key, lookup, counters)
        return value

    async def _look_up_near(
        self, cache_type: str, key: str, policy: Policy, counters: TypeCounters
    ) -> Lookup:
        """Find an entry of a type that is kept in memory, too, or there alone."""
        held = self._memory.look_up(cache_type, key)
        if held is not None:
            counters.memory_hits += 1
            return held
        if not policy.in_redis:
            return counted(await self._look_up_here(cache_type, key, policy), counters)
        return await self.look_up_past_memory(cache_type, key, policy, counters)

    async def look_up_past_memory(
        self, cache_type: str, key: str, policy: Policy, counters: TypeCounters
    ) -> Lookup:
        """Find an entry by a strict read of the server, whatever is in memory; count how it stands."""
        lookup = await self._tier.fetch(cache_type, key, policy)
        if policy.in_memory:
            lookup = self._beside(cache_type, key, policy, lookup)
        return counted(lookup, counters)

    async def look_up_many(
        self, cache_type: str, keys: Sequence[str], policy: Policy, counters: TypeCounters
    ) -> list[Lookup]:
        """Find entries, in one round trip for all; count how they stand."""
        if not policy.in_memory:
            lookups = await self._tier.fetch_many(cache_type, keys, policy)
            return [counted(lookup, counters) for lookup in lookups]
        found = {key: held for key in keys if (held := self._memory.look_up(cache_type, key)) is not None}
        counters.memory_hits += len(found)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if missing and policy.in_redis:
            fetched = await self._tier.fetch_many(cache_type, missing, policy)
            for key, lookup in zip(missing, fetched, strict=True):
                found[key] = counted(self._beside(cache_type, key, policy, lookup), counters)
        elif missing:
            for key in missing:
                found[key] = counted(await self._look_up_here(cache_type, key, policy), counters)
        return [found[key] for key in keys]

    async def read_many(
        self, cache_type: str, keys: Sequence[str], into: Any, policy: Policy, counters: TypeCounters
    ) -> dict[str, Any]:
        """Return the values of the keys that have a fresh one, decoded as `into`."""
        values: dict[str, Any] = {}
        if cache_type in self.in_memory or self._tier.spread:
            lookups = await self.look_up_many(cache_type, keys, policy, counters)
            for key, lookup in zip(keys, lookups, strict=True):
                value = await self._value_of(lookup, cache_type, key, into, policy, counters)
                if value is not MISSING:
                    values[key] = value
            return values
        tier, decode = self._tier, _decoder_or_none(into)
        async for part, stored, _ in tier.fetch_stored(cache_type, keys, policy):
            if isinstance(stored, State):
                counters.unreachable += len(part)
                continue
            starts, unreadable = tier.payload_starts(stored, time.time() * 1000), dict[str, Lookup]()
            for key, data, start in zip(part, stored, starts, strict=True):
                if start and data and decode is not None:
                    try:
                        values[key] = decode(data[start:])
                        continue
                    except Exception:  # noqa: BLE001, S110  validators raise what they like; counted below
                        pass
                lookup = counted(tier.judge(cache_type, key, data, policy), counters)
                value = self._decode_fresh(lookup, into, policy, counters)
                if value is not MISSING:
                    values[key] = value
                elif lookup.unreadable:
                    unreadable[key] = lookup
            for key, lookup in unreadable.items():  # only now: all of a part are judged at once
                await self._unlink_unreadable(cache_type, key, lookup, counters)
        return values

    async def _unlink_unreadable(
        self, cache_type: str, key: str, lookup: Lookup, counters: TypeCounters
    ) -> None:
        """Give back the memory of what nobody can read: a `get` puts nothing in its place."""
        if not lookup.unreadable or self._read_only:
            return
        if await self._tier.unlink_unreadable(cache_type, key, lookup.unreadable):
            counters.unreadable_unlinked += 1

    def _decode_fresh(self, lookup: Lookup, into: Any, policy: Policy, counters: TypeCounters) -> Any:
        return self.decode(lookup, into, policy, counters) if lookup.state is State.FRESH else MISSING

    async def _look_up_strictly(self, cache_type: str, key: str, policy: Policy) -> Lookup:
        """Find an entry where its type keeps it, as of now."""
        if policy.in_redis:
            return await self._tier.fetch(cache_type, key, policy)
        return await self._look_up_here(cache_type, key, policy)

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
        payload = data[header_length(data) :]
        try:
            return decode_payload(flags, payload, into, policy.max_entry)
        except EntryError as error:
            counters.undecodable += 1
            if not is_decodable(flags, payload, policy.max_entry):
                lookup.unreadable = data
            logger.debug("action=undecodable reason=%s", error, extra={"action": "undecodable"})
            return MISSING


def counted(lookup: Lookup, counters: TypeCounters) -> Lookup:
    """Count how an entry stands that is not fresh."""
    if lookup.state is State.DEAD:
        counters.dead += 1
    elif lookup.state is State.UNDECODABLE:
        counters.undecodable += 1
    elif lookup.state is State.UNREACHABLE:
        counters.unreachable += 1
    return lookup


def _decoder_or_none(into: Any) -> Decode | None:
    """What decodes payloads as `into`; None where nothing can: then each is counted as undecodable."""
    try:
        return decoder_of(into)
    except (UsageError, NameError):
        return None
