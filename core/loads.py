"""Loading a key, once for all who wait, and storing what comes of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stoker.core.conditional import NOT_MODIFIED, Offer, Previous, offer
from stoker.core.config import CacheConfig
from stoker.core.contention import Contender, Contention, Verdict
from stoker.core.counters import Counters
from stoker.core.entry import HEADER_BYTES, Entry, encode_tags, pack_entry
from stoker.core.errors import UsageError
from stoker.core.failing import FailingLoaders
from stoker.core.flights import Flight, Flights, Loaded
from stoker.core.lease import Lease
from stoker.core.loaders import Loader, is_conditional, returned_by
from stoker.core.log import InvalidationLog
from stoker.core.policy import Policy
from stoker.core.position import START, format_position
from stoker.core.storage import MISSING, Storage
from stoker.core.throttle import Throttle
from stoker.core.tier import Lookup, State

logger = logging.getLogger(__name__)

#: While another process refreshes a key, this one leaves it alone for so many seconds, then looks again.
ELSEWHERE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """A load that somebody needs."""

    cache_type: str
    key: str
    function: Callable[..., Awaitable[Any]]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    spec: Loader | None
    """Where the function is a registered loader."""
    killer: int = START
    """Position of the record that made it needful."""
    warms: bool = False
    """Nobody asked for the value: it is loaded so that nobody has to wait."""
    behind: bool = False
    """Whoever asked has been answered: it is loaded so that the next one need not wait."""
    lookup: Lookup | None = None
    """What was found stored; None where nobody has looked."""

    @property
    def name(self) -> tuple[str, str]:
        """Cache type and key."""
        return self.cache_type, self.key


class Loads:
    """Runs loads, once per key for all who wait, and stores their results.

    Args:
        config: The policies.
        storage: Where results go.
        log: Where loads are born.
        counters: What is counted.
        contention: Finds the one process that loads a key; None where there is no fleet.
    """

    def __init__(
        self,
        config: CacheConfig,
        storage: Storage,
        log: InvalidationLog,
        counters: Counters,
        contention: Contention | None = None,
    ) -> None:
        self.flights = Flights(log)
        self.failing = FailingLoaders()
        self._config = config
        self._storage = storage
        self._log = log
        self._counters = counters
        self._contention = contention
        self._elsewhere = Throttle()
        self._untaggable: set[str] = set()

    async def run(self, load: Load) -> Loaded:
        """Load, or join a load under way that may serve this caller.

        Raises:
            Exception: Whatever the loader raises.
        """
        counters = self._counters.of(load.cache_type)

        def joined() -> None:
            counters.loads_joined += 1

        return await self.flights.load(
            load.cache_type, load.key, lambda flight: self._fly(load, flight), joined
        )

    def run_behind(self, load: Load) -> None:
        """Start a load that nobody waits for, unless one is under way, here or elsewhere."""
        if not self._elsewhere.holds(load.name):
            behind = replace(load, behind=True)
            self.flights.start_behind(load.cache_type, load.key, lambda flight: self._fly(behind, flight))

    async def close(self, timeout: float) -> None:
        """Let loads under way end within `timeout` seconds; cancel those that don't."""
        await self.flights.close(timeout)
        if self._contention is not None:
            await self._contention.close()

    def contention(self, policy: Policy) -> Contention | None:
        """What finds the one process that loads a key, where a policy wants that and it can be done."""
        return self._contention if policy.lease and policy.in_redis and self._log.epoch else None

    # -- one load ---------------------------------------------------------------------------------

    async def _fly(self, load: Load, flight: Flight) -> Loaded:
        policy = self._config.types[load.cache_type]
        deadline = asyncio.get_running_loop().time() + policy.load_timeout
        lease: Lease | None = None
        contention = self.contention(policy)
        if contention is not None and (load.lookup is None or load.lookup.state is not State.UNREACHABLE):
            outcome = await contention.enter(self._contender(load, flight, policy, deadline))
            if outcome is Verdict.ELSEWHERE:
                self._elsewhere.hold(load.name, ELSEWHERE_SECONDS)
                return Loaded(None, None, stored=False, seconds=0.0, void=True)
            if isinstance(outcome, Lookup):
                if (loaded := self._taken(load, outcome, policy)) is not None:
                    return loaded
            elif isinstance(outcome, Lease):
                lease = outcome
        stored = False
        try:
            loaded = await self._carry_out(load, flight, policy, deadline)
            stored = loaded.stored
        finally:
            if lease is not None and contention is not None:
                contention.release(lease, stored=stored)
        return loaded

    def _contender(self, load: Load, flight: Flight, policy: Policy, deadline: float) -> Contender:
        lookup, counters = load.lookup, self._counters.of(load.cache_type)
        known = lookup is not None and lookup.state is not State.UNDECODABLE
        seen = head_of(lookup) if known and lookup is not None else None
        return Contender(flight, policy, counters, seen, not (load.warms or load.behind), deadline)

    def _taken(self, load: Load, lookup: Lookup, policy: Policy) -> Loaded | None:
        """What another process has loaded; None where it is not what this loader returns."""
        counters = self._counters.of(load.cache_type)
        value = self._storage.decode(lookup, returned_by(load.function), policy, counters)
        if value is MISSING or lookup.entry is None:
            return None
        counters.loads_joined += 1
        age = max(time.time() - lookup.entry.created_ms / 1000, 0.0)
        return Loaded(value, lookup.entry.tags, stored=True, seconds=0.0, age=age)

    async def _carry_out(self, load: Load, flight: Flight, policy: Policy, deadline: float) -> Loaded:
        counters, spec = self._counters.of(load.cache_type), load.spec
        lookup = load.lookup
        if lookup is None and is_conditional(load.function):
            lookup = await self._storage.look_up(load.cache_type, load.key, policy, counters)
        flight.begin_now(self._log)
        offered = self._offer(load, lookup, policy)
        counters.loads += 1
        counters.warm_loads += load.warms
        counters.early_refreshes += load.behind and lookup is not None and lookup.state is State.FRESH
        began = time.perf_counter()
        try:
            async with asyncio.timeout_at(deadline):
                value = await load.function(*load.args, **load.kwargs)
        except Exception as error:
            counters.load_failures += 1
            self.failing.failed(load.name, policy.fail_safe_throttle)
            if load.behind:
                self.failing.swallowed(load.cache_type, error, policy.fail_safe_throttle)
            raise
        seconds = time.perf_counter() - began
        counters.durations["load"].observe(seconds)
        self.failing.worked(load.name)
        tags = None
        if value is NOT_MODIFIED:
            value, tags = _kept(load, offered)
            counters.not_modified += 1
        if tags is None or (spec is not None and spec.tags is not None):
            tags = self._tags_of(load, value)
        stored = tags is not None and await self._storage.store(
            load.cache_type, load.key, value, tags, flight.epoch, flight.born, ttl=spec.ttl if spec else None
        )
        if load.killer:
            self._tell_reload(load, seconds)
        return Loaded(value, tags, stored, seconds)

    def _offer(self, load: Load, lookup: Lookup | None, policy: Policy) -> Offer:
        """Offer the loader what is stored, if that is alive now that the load begins."""
        entry = lookup.entry if lookup is not None and lookup.state in {State.FRESH, State.STALE} else None
        alive = entry is not None and self._is_alive(load, entry)

        def find() -> Previous | None:
            if lookup is None or entry is None or not alive:
                return None
            counters = self._counters.of(load.cache_type)
            value = self._storage.decode(lookup, returned_by(load.function), policy, counters)
            if value is MISSING:
                return None
            age = max(time.time() - entry.created_ms / 1000, 0.0)
            return Previous(value, age, tuple(tag.decode() for tag in entry.tags))

        found = Offer(find)
        offer(found)
        return found

    def _is_alive(self, load: Load, entry: Entry) -> bool:
        """What was alive when it was looked up may have been killed while this load waited for its turn."""
        log = self._log
        return (
            entry.epoch == log.epoch
            and entry.born >= log.history.horizon
            and not log.killer(load.cache_type, load.key, entry.tags, entry.born)
        )

    def _tags_of(self, load: Load, value: Any) -> tuple[bytes, ...] | None:
        """The value's tags; None when its loader can't tell them: the value is returned, and not stored."""
        spec = load.spec
        if spec is None or spec.tags is None or value is None:
            return ()
        try:
            return encode_tags(spec.tags(value))
        except Exception as error:  # noqa: BLE001  somebody else's function; the value itself is good
            self._counters.of(load.cache_type).unstorable += 1
            if spec.name not in self._untaggable:
                self._untaggable.add(spec.name)
                logger.warning(
                    "action=untaggable cache_type=%s loader=%s reason=%s: %s",
                    load.cache_type,
                    spec.name,
                    type(error).__name__,
                    error,
                    extra={"action": "untaggable", "loader": spec.name},
                )
            return None

    def _tell_reload(self, load: Load, seconds: float) -> None:
        """The last step of the way from an event over its invalidation to the load that it made needful."""
        record, trace = format_position(load.killer), self._log.trace_of(load.killer)
        logger.info(
            "action=reloaded cache_type=%s record=%s trace=%s",
            load.cache_type,
            record,
            trace,
            extra={
                "action": "reloaded",
                "cache_type": load.cache_type,
                "record": record,
                "trace": trace,
                "seconds": round(seconds, 6),
            },
        )


def head_of(lookup: Lookup) -> bytes:
    """The first bytes of what was found stored; empty where nothing was."""
    if lookup.held is not None and lookup.entry is not None:
        return pack_entry(lookup.entry)[:HEADER_BYTES]  # it comes from memory
    return lookup.data[:HEADER_BYTES]


def _kept(load: Load, offered: Offer) -> tuple[Any, tuple[bytes, ...]]:
    """The value that a loader says is still right, with its tags.

    Raises:
        UsageError: There was none.
    """
    previous = offered.take()
    if previous is None:
        raise UsageError(
            f"the loader of {load.key!r} answered NOT_MODIFIED, but nothing usable is stored; "
            "where previous() gives None, return a value"
        )
    return previous.value, encode_tags(previous.tags)
