"""An entry's tiers as one: where values become entries, and entries values."""

from __future__ import annotations

import logging
import time
from asyncio import Future
from collections.abc import Mapping
from typing import Any, NamedTuple

from stoker.core.clock import boottime
from stoker.core.counters import Counters
from stoker.core.entries.codec import MISSING, UnstorableError
from stoker.core.entries.commits import ALWAYS, Commit, Commits, still_there
from stoker.core.entries.entry import Entry, pack_entry
from stoker.core.entries.finding import Finding, counted
from stoker.core.entries.lookup import State
from stoker.core.entries.making import EntryMaker, kept_ms
from stoker.core.entries.memory import Kept, MemoryTier
from stoker.core.entries.outcome import Origin, Outcome, outcome_of
from stoker.core.entries.tier import RedisTier
from stoker.core.entries.vouching import Vouching
from stoker.core.errors import LinkError
from stoker.core.log.knowledge import Log
from stoker.core.log.position import START
from stoker.core.log.scopes import Copy, Key
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.policy import Policy

logger = logging.getLogger(__name__)

#: Why a value is not stored of a type that is kept in memory alone.
TOO_HEAVY = "it alone takes more than memory.bytes: raise that, or keep its type in Redis"


class _Storing(NamedTuple):
    """An entry on its way; see `Storage.store`."""

    cache_type: str
    key: str
    value: Any
    entry: Entry
    policy: Policy
    condition: bytes
    origin: Origin


class Storage(Finding):
    """Looks entries up in the tiers of their type, and stores them there."""

    def __init__(
        self,
        config: CacheConfig,
        log: Log,
        memory: MemoryTier,
        tier: RedisTier,
        commits: Commits,
        vouching: Vouching,
        counters: Counters,
        *,
        read_only: bool = False,
    ) -> None:
        super().__init__(config, log, memory, tier, counters, read_only=read_only)
        self._commits = commits
        self._vouching = vouching
        self._maker = EntryMaker(config.types, log, counters)
        if config.redis.enabled:
            _warn_of_what_sweeps_lose(config)

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
        origin: Origin = Origin.LOADED,
    ) -> bool:
        """Store a value that was born at a position; say whether it was stored.

        Args:
            cache_type: The key's type.
            key: The key.
            value: What is to be stored.
            tags: Its tags, encoded.
            epoch: The log's epoch when its load began; 0 when it was not known.
            born: The log's position when its load began.
            ttl: Seconds it is fresh, where they differ from the type's.
            condition: What must hold beside; see `commits`.
            origin: Where the value comes from.
        """
        entry = self._maker.make(cache_type, value, tags, epoch, born, ttl)
        if entry is None:
            return False
        policy = self._config.types[cache_type]
        one = _Storing(cache_type, key, value, entry, policy, condition, origin)
        begun = self._begin(one)
        if origin is Origin.COMPUTED and policy.in_memory:
            # What is stored must be told, also if the caller gives up meanwhile.
            return await self._log.carry_out(self._finish(one, begun), "stoker-store")
        return await self._finish(one, begun)

    def _begin(self, one: _Storing) -> Future[Commit] | Commit:
        """Queue an entry for the server, or say at once what becomes of it where that is not to be asked."""
        cache_type, key, _, entry, policy, condition, origin = one
        if origin is Origin.COMPUTED and self._is_overtaken(one):
            return Commit.YOUNGER
        if not policy.in_redis or not entry.epoch:
            return Commit.UNREACHABLE
        if origin is Origin.COMPUTED:
            self._ask_log()
        kept = kept_ms(policy, entry.fresh_until_ms - entry.created_ms)
        return self._commits.commit(cache_type, key, pack_entry(entry), kept, condition)

    async def _finish(self, one: _Storing, begun: Future[Commit] | Commit) -> bool:
        """See a store to its end, and tell others of it; say whether the value is stored."""
        commit = await self._end(one, begun)
        told = (
            await self._log.tell(Copy(one.cache_type, one.key)) if self._drops_copies(one, commit) else None
        )
        return self._conclude(one, commit, told)

    async def _end(self, one: _Storing, begun: Future[Commit] | Commit) -> Commit:
        """Wait for what has become of an entry at the server, as far as that is known to be of use."""
        commit = begun if isinstance(begun, Commit) else await begun
        if one.origin is Origin.COMPUTED and commit is Commit.STORED and self._is_overtaken(one):
            return Commit.YOUNGER
        return commit

    def _is_overtaken(self, one: _Storing) -> bool:
        """Whether an entry is known to be dead already."""
        log, entry = self._log, one.entry
        if entry.epoch != log.epoch:
            return False
        return bool(log.killer(one.cache_type, one.key, entry.tags, entry.born))

    def _drops_copies(self, one: _Storing, commit: Commit) -> bool:
        """Whether other processes must be told of a store: not where it was not sent, the server being away.

        What is stored then stands in for what the server has, in this process's memory alone, for as long as
        `on_outage` says, and until the server is back.
        """
        if one.origin is not Origin.COMPUTED or not one.policy.in_memory:
            return False
        if one.policy.in_redis:
            return commit in {Commit.STORED, Commit.UNKNOWN}
        return self._ask_log() and bool(self._log.epoch) and commit is Commit.UNREACHABLE

    def _ask_log(self) -> bool:
        """Queue a look at the log; say whether it can be asked."""
        try:
            self._log.check()
        except LinkError:
            return False
        return True

    def _conclude(self, one: _Storing, commit: Commit, told: int | None) -> bool:
        """Do what is left to do of a store; count it, and say whether the value is stored."""
        conditional = one.condition != ALWAYS
        outcome = outcome_of(commit, told, one.policy, one.origin, conditional=conditional)
        if outcome is Outcome.WITHDRAWN:
            return self._withdraw(one.cache_type, one.key)
        stored = outcome in {Outcome.STORED, Outcome.BOTH}
        if outcome is Outcome.STORED:
            self._memory.remove(one.cache_type, one.key)
        elif outcome is not Outcome.REFUSED:
            kept = self._store_here(one, told or START, stands_in=outcome is Outcome.STANDS_IN)
            if kept is Kept.TOO_HEAVY and not one.policy.in_redis:
                self._maker.refuse(one.cache_type, one.value, UnstorableError(TOO_HEAVY))
                return False
            stored = stored or kept is Kept.YES
        return self._count(one.cache_type, stored=stored)

    def _withdraw(self, cache_type: str, key: str) -> bool:
        """Count a store that is not known to be one; what is in memory may be out of date, and goes."""
        self._memory.remove(cache_type, key)
        return self._count(cache_type, stored=False)

    def _count(self, cache_type: str, *, stored: bool) -> bool:
        counters = self._counters.of(cache_type)
        if stored:
            counters.sets += 1
        else:
            counters.sets_refused += 1
        return stored

    def vouch(
        self,
        cache_type: str,
        key: str,
        value: Any,
        tags: tuple[bytes, ...],
        ttl: float | None,
        policy: Policy,
    ) -> Future[Commit] | None:
        """Queue a value that the caller vouches for now, of a type that is in Redis alone.

        What becomes of it is for the caller to count; None: it can't be stored.
        """
        one = self._maker.make_vouched(cache_type, key, value, tags, ttl, policy)
        return None if one is None else self._vouching.store(one, policy)

    async def store_told(
        self, cache_type: str, key: str, value: Any, tags: tuple[bytes, ...], *, ttl: float | None
    ) -> bool:
        """Store a value that the caller vouches for now, of a type that is in memory, too, or there alone.

        Other processes may have the key in memory: it is stamped with the record that tells them. That ends
        what was there, so the value is stored also if the caller gives up meanwhile.
        """
        return await self._log.carry_out(
            self._store_told(cache_type, key, value, tags, ttl), "stoker-store-told"
        )

    async def _store_told(
        self, cache_type: str, key: str, value: Any, tags: tuple[bytes, ...], ttl: float | None
    ) -> bool:
        epoch = self._log.epoch
        told = await self._log.tell(Key(cache_type, key))
        if not told:
            return self._withdraw(cache_type, key)
        return await self.store(cache_type, key, value, tags, epoch, told, ttl=ttl, origin=Origin.VOUCHED)

    async def store_if_absent(
        self,
        cache_type: str,
        key: str,
        value: Any,
        tags: tuple[bytes, ...],
        policy: Policy,
        *,
        ttl: float | None,
        born: tuple[int, int] | None = None,
    ) -> bool:
        """Store a value if there is no fresh one; of several who try at once, one does.

        Where epoch and position are given at which it was born, it is stamped so: it may be dead at once.
        """
        lookup = await self._look_up_strictly(cache_type, key, policy)
        if lookup.state in {State.FRESH, State.UNREACHABLE}:
            return False
        if lookup.state is State.UNDECODABLE:
            # Nobody can read what is there: it is as good as absent. (A key of another kind has no bytes.)
            counted(lookup, self._counters.of(cache_type))
        epoch, at = born or (self._log.epoch, self._log.known)  # the log was just read to its end
        condition = still_there(lookup)
        # In memory alone nothing may come between look and store; and each process has values of its own.
        origin = Origin.COMPUTED if policy.in_redis else Origin.LOADED
        return await self.store(
            cache_type, key, value, tags, epoch, at, ttl=ttl, condition=condition, origin=origin
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
        policy = self._config.types[cache_type]
        if policy.in_memory:
            # As with one: others are told, and what was there has ended, also if the caller gives up.
            committing = self._commit_many(cache_type, values, births, tags, ttl)
            return await self._log.carry_out(committing, "stoker-store-many")
        computed = {key: value for key, value in values.items() if births[key] is not None}
        vouched = {key: value for key, value in values.items() if births[key] is None}
        stored = 0
        if vouched:
            make = self._maker.make_vouched
            made = (make(cache_type, key, value, tags, ttl, policy) for key, value in vouched.items())
            commits = await self._vouching.store_many((one for one in made if one is not None), policy)
            stored = sum([self._count(cache_type, stored=commit is Commit.STORED) for commit in commits])
        if computed:
            stored += await self._commit_many(cache_type, computed, births, tags, ttl)
        return stored

    async def _commit_many(
        self,
        cache_type: str,
        values: Mapping[str, Any],
        births: Mapping[str, tuple[int, int] | None],
        tags: tuple[bytes, ...],
        ttl: float | None,
    ) -> int:
        """Store what was computed, or is kept in memory, too; say how many were stored."""
        policy = self._config.types[cache_type]
        vouched = {key for key in values if births[key] is None}
        epoch = self._log.epoch
        # Other processes may have these in memory: one record tells of all.
        told = await self._log.tell(*(Key(cache_type, key) for key in vouched)) if vouched else START
        begun: list[tuple[_Storing, Future[Commit] | Commit]] = []
        for key, value in values.items():
            birth = births[key] or (epoch, told)
            if not birth[1] and key in vouched:
                self._withdraw(cache_type, key)
            elif (entry := self._maker.make(cache_type, value, tags, *birth, ttl)) is not None:
                origin = Origin.VOUCHED if key in vouched else Origin.COMPUTED
                one = _Storing(cache_type, key, value, entry, policy, ALWAYS, origin)
                begun.append((one, self._begin(one)))
        ended = [(one, await self._end(one, future)) for one, future in begun]
        # Of these, other processes may have something else in memory: one record tells of all, once all are
        # stored.
        others = {one.key for one, commit in ended if self._drops_copies(one, commit)}
        dropped = await self._log.tell(*(Copy(cache_type, key) for key in others)) if others else START
        return sum(
            [self._conclude(one, commit, dropped if one.key in others else None) for one, commit in ended]
        )

    def _store_here(self, one: _Storing, told: int, *, stands_in: bool) -> Kept:
        """Keep an entry in memory; say whether it is there."""
        log, entry, policy = self._log, one.entry, one.policy
        is_over = boottime() - log.last_proved > policy.outage_seconds
        if not entry.epoch:
            # The server is away. What was loaded since is good for as long as `on_outage` says, unless the
            # process has seen another log meanwhile.
            if log.epoch or log.seen != entry.born or is_over:
                return Kept.OVERTAKEN
            entry.epoch = log.last_epoch
        if stands_in and (is_over or entry.epoch != log.last_epoch or self._ask_log()):
            return Kept.OVERTAKEN  # nobody would be served it
        given = MISSING if policy.in_redis or policy.memory_copies else one.value
        name, born = (one.cache_type, one.key), entry.born
        return self._memory.put(*name, entry, policy, born, given=given, copied=told, stands_in=stands_in)

    async def touch(self, cache_type: str, key: str, policy: Policy, seconds: float) -> bool:
        """Give a fresh entry another time to live, in place; say whether there was one."""
        counters = self._counters.of(cache_type)
        lookup = await self._look_up_strictly(cache_type, key, policy)
        entry = lookup.entry
        if lookup.state is not State.FRESH or entry is None:
            counted(lookup, counters)
            return False
        after = int((time.time() + seconds) * 1000)
        kept = kept_ms(policy, int(seconds * 1000))
        if policy.in_redis and policy.in_memory and after < entry.fresh_until_ms:
            shortening = self._shorten(cache_type, key, lookup.data, entry, after, kept)
            return await self._log.carry_out(shortening, "stoker-shorten")
        if policy.in_redis and not await self._tier.touch(cache_type, key, lookup.data, after, kept):
            return False
        if policy.in_memory:
            self._memory.touch(cache_type, key, entry, after)
        return True

    async def _shorten(
        self, cache_type: str, key: str, stored: bytes, entry: Entry, after: int, kept: int
    ) -> bool:
        """Let an entry end sooner, here, in the server, and in the memory of others."""
        if not await self._tier.touch(cache_type, key, stored, after, kept):
            return False
        self._memory.touch(cache_type, key, entry, after)
        # Only now: a copy that is made between would have the old time to live.
        await self._log.tell(Copy(cache_type, key))
        return True


def _warn_of_what_sweeps_lose(config: CacheConfig) -> None:
    """Name the types of which entries are nowhere else than where a sweep of the log may end them."""
    for name, policy in config.types.items():
        if policy.kind == "authoritative" and policy.in_memory and not policy.in_redis:
            logger.warning(
                "action=memory_may_lose cache_type=%s reason=%s",
                name,
                "entries that nobody reads between two sweeps of the log are lost: keep them in Redis, too",
                extra={"action": "memory_may_lose"},
            )
