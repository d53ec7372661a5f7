"""Loading a key, once for all who wait, and storing what comes of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from stoker.core.counters import Counters, TypeCounters
from stoker.core.entries.codec import MISSING
from stoker.core.entries.entry import HEADER_BYTES, encode_tags, pack_entry
from stoker.core.entries.lookup import Lookup, State
from stoker.core.entries.storage import Storage
from stoker.core.errors import UsageError
from stoker.core.loading.conditional import NOT_MODIFIED, Offer, Previous, offer
from stoker.core.loading.contention import Contender, Contention, Verdict
from stoker.core.loading.failing import FailingLoaders
from stoker.core.loading.flights import Flight, Flights, Loaded
from stoker.core.loading.lease import Lease
from stoker.core.loading.limit import load_limit
from stoker.core.loading.loaders import Loader, LoadFunction, is_conditional, returned_by
from stoker.core.loading.pacing import Pacing
from stoker.core.loading.sharing import is_shareable
from stoker.core.loading.threads import ThreadGoneError
from stoker.core.loading.throttle import Throttle
from stoker.core.log.fleet_log import Log
from stoker.core.log.position import START, format_position
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.policy import Policy
from stoker.core.tagging import Tagging

logger = logging.getLogger(__name__)

#: The loads whose loaders this task runs in: one that waits for itself would wait for ever.
_loading: ContextVar[tuple[tuple[Loads, Flight, Load], ...]] = ContextVar("stoker_loading", default=())

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
    answered: asyncio.Future[None] | None = None
    """Done once whoever asked gets the answer as it comes: from then on nothing older will do."""
    gives: Callable[..., Awaitable[Any]] | None = None
    """What the function calls, to give what that returns; None where it gives its own."""

    @property
    def name(self) -> tuple[str, str]:
        """Cache type and key."""
        return self.cache_type, self.key

    @property
    def is_answered(self) -> bool:
        """Whether the answer has begun to come."""
        return self.answered is not None and self.answered.done()


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
        log: Log,
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
        self.pacing = Pacing()
        self.tagging = Tagging()

    async def run(self, load: Load) -> Loaded:
        """Load, or join a load under way that may serve this caller.

        Raises:
            UsageError: The caller is the loader of this very key, or is called by it.
            Exception: Whatever the loader raises.
        """
        for loads, flight, _ in _loading.get():
            if loads is not self or (flight.cache_type, flight.key) != load.name or flight.landed.done():
                continue
            raise UsageError(
                f"the loader of {load.cache_type}:{load.key} waits for that very load: read the key in it "
                "with `get`, or load under another key"
            )
        counters = self._counters.of(load.cache_type)

        def joined() -> None:
            counters.loads_joined += 1

        return await self.flights.load(
            load.cache_type,
            load.key,
            lambda flight: self._fly(load, flight),
            joined,
            looked=load.lookup is None or load.lookup.state is not State.UNREACHABLE,
        )

    def run_behind(self, load: Load) -> None:
        """Start a load that nobody waits for, unless one is under way, here or elsewhere."""
        if self.is_elsewhere(load.name) or self.flights.has(*load.name):
            return
        behind, cache_type, start = replace(load, behind=True), load.cache_type, self._fly
        if load.lookup is not None and self.is_from_before(load.lookup):
            if not self.pacing.admits(cache_type, self.policy(cache_type).warm):
                return
            start = self._fly_paced
        self.flights.start_behind(cache_type, load.key, lambda flight: start(behind, flight))

    async def close(self, timeout: float) -> None:
        """Let loads under way end within `timeout` seconds; cancel those that don't."""
        await self.flights.close(timeout)
        if self._contention is not None:
            await self._contention.close()

    # -- what all loads share ---------------------------------------------------------------------

    def policy(self, cache_type: str) -> Policy:
        """The policy of a type."""
        return self._config.types[cache_type]

    def counters(self, cache_type: str) -> TypeCounters:
        """The counters of a type."""
        return self._counters.of(cache_type)

    def contention(self, policy: Policy) -> Contention | None:
        """What finds the one process that loads a key, where a policy wants that and it can be done."""
        return self._contention if policy.lease and policy.in_redis and self._log.epoch else None

    def contender(
        self, flight: Flight, policy: Policy, lookup: Lookup | None, deadline: float, *, waits: bool
    ) -> Contender:
        """What contends for the lease of a load's key."""
        known = lookup is not None and lookup.state is not State.UNDECODABLE
        seen = head_of(lookup) if known and lookup is not None else None
        return Contender(flight, policy, self.counters(flight.cache_type), seen, waits, deadline)

    async def begin(self, flight: Flight) -> None:
        """The loader of a flight starts now: its result is born where the log stands, or where it stood.

        For a source of which parts lag behind, that is where it stood as long ago as they take to settle.
        """
        settle = self._config.types[flight.cache_type].settle
        settled = await self._log.birth(settle) if settle else None
        flight.begin_now(self._log)
        if settled is not None:
            flight.born = min(flight.born, settled)

    def taken(self, cache_type: str, lookup: Lookup, into: Any) -> Loaded | None:
        """What another process has loaded; None where it is not what this loader returns."""
        counters = self.counters(cache_type)
        value = self._storage.decode(lookup, into, self.policy(cache_type), counters)
        if value is MISSING or lookup.entry is None:
            return None
        counters.loads_joined += 1
        age = max(time.time() - lookup.entry.created_ms / 1000, 0.0)
        return Loaded(value, lookup.entry.tags, stored=True, seconds=0.0, age=age)

    async def store(
        self,
        cache_type: str,
        key: str,
        value: Any,
        tags: tuple[bytes, ...],
        flight: Flight,
        *,
        ttl: float | None,
    ) -> bool:
        """Store what a flight's loader returned; say whether it was stored."""
        return await self._storage.store(cache_type, key, value, tags, flight.epoch, flight.born, ttl=ttl)

    def is_from_before(self, lookup: Lookup) -> bool:
        """Whether an entry is of an older epoch: then all the others are stale, too, and all at once."""
        entry, epoch = lookup.entry, self._log.epoch
        return entry is not None and epoch not in {0, entry.epoch}

    def is_elsewhere(self, name: tuple[str, str]) -> bool:
        """Whether another process refreshed a key a moment ago, or does so still."""
        return self._elsewhere.holds(name)

    def leave_elsewhere(self, name: tuple[str, str]) -> None:
        """Another process refreshes a key: leave it alone for a moment."""
        self._elsewhere.hold(name, ELSEWHERE_SECONDS)

    # -- one load ---------------------------------------------------------------------------------

    async def _fly_paced(self, load: Load, flight: Flight) -> Loaded:
        return await self.pacing.run(load.cache_type, self._fly(load, flight))

    async def _fly(self, load: Load, flight: Flight) -> Loaded:
        policy = self._config.types[load.cache_type]
        deadline = asyncio.get_running_loop().time() + policy.load_timeout
        lease: Lease | None = None
        contention = self.contention(policy)
        away = load.lookup is not None and load.lookup.state is State.UNREACHABLE
        if contention is not None and not away and not flight.alone:
            waits = not (load.warms or load.behind)
            outcome = await contention.enter(
                self.contender(flight, policy, load.lookup, deadline, waits=waits)
            )
            if outcome is Verdict.ELSEWHERE:
                self.leave_elsewhere(load.name)
                return Loaded(None, None, stored=False, seconds=0.0, void=True)
            if isinstance(outcome, Lookup):
                if (loaded := self.taken(load.cache_type, outcome, returned_by(load.function))) is not None:
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

    async def _carry_out(self, load: Load, flight: Flight, policy: Policy, deadline: float) -> Loaded:
        counters, spec = self._counters.of(load.cache_type), load.spec
        lookup = load.lookup
        if lookup is None and is_conditional(load.function):
            lookup = await self._storage.look_up(load.cache_type, load.key, policy, counters)
        await self.begin(flight)
        offered = self._offer(load, lookup, policy)
        counters.loads += 1
        counters.warm_loads += load.warms
        counters.early_refreshes += load.behind and lookup is not None and lookup.state is State.FRESH
        began = time.perf_counter()
        try:
            async with load_limit(deadline, policy, load.cache_type, load.key):
                value = await self._call(load, flight)
        except Exception as error:  # somebody else's function: counted, and raised again
            counters.load_failures += 1
            offered.end()
            self.failing.failed(load.name, policy.fail_safe_throttle)
            if load.behind:
                self.failing.swallowed(load.cache_type, error, policy.fail_safe_throttle)
            raise
        seconds = time.perf_counter() - began
        counters.durations["load"].observe(seconds)
        self.failing.worked(load.name)
        tags = flight.tags
        if value is NOT_MODIFIED:
            value, tags = _kept(load, offered)
            counters.not_modified += 1
        offered.end()
        tag = spec.tags_for(value, load.args, load.kwargs) if spec and flight.tags is None else None
        if tags is None or tag is not None:
            tags = self.tagging.tags_of(value, tag, load.cache_type, spec.name if spec else "", counters)
        stored = False
        if tags is not None and flight.storable:
            ttl = _ttl_of(flight, spec, policy)
            stored = await self.store(load.cache_type, load.key, value, tags, flight, ttl=ttl)
        if load.killer:
            self._tell_reload(load, seconds)
        for_one = not stored and not is_shareable(value, policy)
        return Loaded(value, tags, stored, seconds, for_one=for_one)

    async def _call(self, load: Load, flight: Flight) -> Any:
        """Call the loader; what it calls can tell that it does so within this load.

        Only then: a timer keeps its context until it would have run, and with it the loader's arguments.
        """
        token = _loading.set((*_loading.get(), (self, flight, load)))
        try:
            return await load.function(*load.args, **load.kwargs)
        except ThreadGoneError:
            flight.thread_gone = True
            raise
        finally:
            _loading.reset(token)

    def _offer(self, load: Load, lookup: Lookup | None, policy: Policy) -> Offer:
        """Offer the loader what is stored, if that is alive now that the load begins."""
        entry = lookup.entry if lookup is not None and lookup.state in {State.FRESH, State.STALE} else None
        alive = lookup is not None and entry is not None and self._is_alive(load, lookup)

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

    def _is_alive(self, load: Load, lookup: Lookup) -> bool:
        """What was alive when it was looked up may have been killed while this load waited for its turn."""
        log, entry = self._log, lookup.entry
        if entry is None or entry.epoch != log.epoch:
            return False
        since = max(lookup.checked, entry.born)
        return since >= log.known_from and not log.killer(load.cache_type, load.key, entry.tags, since)

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


def load_of(function: LoadFunction) -> tuple[Flight, Load] | None:
    """The load in this task whose result is what a function returns: its loader, or what that passes on.

    None where the function is called by somebody else.
    """
    for _, flight, load in _loading.get()[-1:]:
        if load.function is function or load.gives is function:
            return flight, load
    return None


def _ttl_of(flight: Flight, spec: Loader | None, policy: Policy) -> float | None:
    """Seconds that a result is fresh, where that is not what its type says."""
    given = spec.ttl if spec else None
    if flight.fresh_at_most is None:
        return given
    return min(flight.fresh_at_most, policy.ttl if given is None else given)


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
