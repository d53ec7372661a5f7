"""Loads of many keys by one call of a loader.

Each key of a batch is a load of its own for everybody else: it has its own lease, is joined by readers of
that key alone, and is judged and stored by its own tags. What somebody loads already is waited for, not
loaded twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stoker.core.entries.codec import MISSING
from stoker.core.entries.lookup import Lookup, State
from stoker.core.errors import UsageError
from stoker.core.loading.conditional import NOT_MODIFIED
from stoker.core.loading.contention import Contender, Contention, Outcome, Verdict
from stoker.core.loading.flights import Flight, Loaded, View, wait_for
from stoker.core.loading.lease import Holder, Lease
from stoker.core.loading.limit import load_limit
from stoker.core.loading.loaders import values_returned_by
from stoker.core.loading.loads import Loads
from stoker.core.loading.sharing import is_shareable
from stoker.core.loading.threads import ThreadGoneError
from stoker.core.settings.policy import Policy

VOID = Loaded(None, None, stored=False, seconds=0.0, void=True)


@dataclass(frozen=True, slots=True)
class Batch:
    """A load of many keys that somebody needs."""

    cache_type: str
    function: Callable[[list[str]], Awaitable[Mapping[str, Any]]]
    tags: Callable[[Any], Iterable[str]] | None
    """Gives the tags of a loaded value."""
    ttl: float | None
    """Seconds its values are fresh, where they differ from the type's."""
    lookups: Mapping[str, Lookup]
    """The keys, with what was found stored."""
    behind: bool = False
    """Whoever asked has been answered."""

    @property
    def name(self) -> str:
        """What its loader is called in log lines."""
        return str(getattr(self.function, "__qualname__", self.function))


class Batches:
    """Runs loads of many keys."""

    def __init__(self, loads: Loads) -> None:
        self._loads = loads
        self._flights = loads.flights

    async def run(self, batch: Batch) -> dict[str, Loaded]:
        """Load keys, or join their loads under way; what the loader has no value for is not in the answer.

        Raises:
            LoadCancelledError: A load was cancelled, and not by this caller.
            UsageError: The loader's answer is no mapping of keys to values.
            Exception: Whatever a loader raises.
        """
        looked = all(lookup.state is not State.UNREACHABLE for lookup in batch.lookups.values())
        view, wanted = self._flights.view(looked=looked), list(batch.lookups)
        found: dict[str, Loaded] = {}
        while wanted:
            wanted = await self._run_once(batch, wanted, view, found)
        return found

    def run_behind(self, batch: Batch) -> None:
        """Load keys that nobody waits for, but for those that are being loaded."""
        cache_type, flights = batch.cache_type, self._flights
        keys = [
            key
            for key in batch.lookups
            if not flights.has(cache_type, key) and not self._loads.is_elsewhere((cache_type, key))
        ]
        before = {key for key in keys if self._loads.is_from_before(batch.lookups[key])}
        pacing = self._loads.pacing
        if before and not pacing.admits(cache_type, self._loads.policy(cache_type).warm):
            keys = [key for key in keys if key not in before]
            before.clear()
        if keys:
            _, task = self._start(batch, keys)
            if before:
                task.add_done_callback(lambda _: pacing.ended(cache_type))

    async def _run_once(
        self, batch: Batch, wanted: Sequence[str], view: View, found: dict[str, Loaded]
    ) -> list[str]:
        """Load or join each key once; return those whose joined loads don't serve."""
        flights = self._flights
        joined = {key: flight for key in wanted if (flight := flights.find(batch.cache_type, key, view))}
        mine = [key for key in wanted if key not in joined]
        waits: list[Awaitable[Any]] = [flights.join(flight, view) for flight in joined.values()]
        own: dict[str, Flight] = {}
        if mine:
            own, task = self._start(batch, mine)
            waits.append(wait_for(task))
        answers = await asyncio.gather(*waits, return_exceptions=True)
        _raise_first(answers)
        found.update(_values_of(own))
        again: list[str] = []
        alone: list[str] = []
        for key, answer in zip(joined, answers, strict=False):
            if isinstance(answer, Loaded) and answer.for_one:
                alone.append(key)
            elif isinstance(answer, Loaded):
                self._loads.counters(batch.cache_type).loads_joined += 1
                found[key] = answer
            else:
                again.append(key)
        if alone:
            found.update(await self._load_alone(batch, alone))
        return again

    async def _load_alone(self, batch: Batch, keys: Sequence[str]) -> dict[str, Loaded]:
        """Load keys for this caller, whose results can't be shared."""
        own, task = self._start(batch, keys, alone=True)
        await wait_for(task)
        return _values_of(own)

    def _start(
        self, batch: Batch, keys: Sequence[str], *, alone: bool = False
    ) -> tuple[dict[str, Flight], asyncio.Task[None]]:
        loop, cache_type = asyncio.get_running_loop(), batch.cache_type
        own = {key: self._flights.add(cache_type, key, loop.create_future(), alone=alone) for key in keys}
        name = f"stoker-load {cache_type}:{keys[0]} and {len(keys) - 1} more"
        return own, self._flights.spawn(self._fly(batch, own), name)

    async def _fly(self, batch: Batch, own: Mapping[str, Flight]) -> None:
        try:
            await self._load(batch, own)
        except BaseException as error:  # a cancellation, too: whoever joined must hear of it
            gone = any(flight.thread_gone for flight in own.values())
            for flight in own.values():
                flight.thread_gone = gone
                _land_error(flight, error)
            raise

    async def _load(self, batch: Batch, own: Mapping[str, Flight]) -> None:
        policy = self._loads.policy(batch.cache_type)
        turn = _Turn(batch, policy, asyncio.get_running_loop().time() + policy.load_timeout)
        contention = self._loads.contention(policy)
        away = any(lookup.state is State.UNREACHABLE for lookup in batch.lookups.values())
        if contention is None or away or any(flight.alone for flight in own.values()):
            await self._call(turn, own)
            return
        try:
            await self._contend(turn, own, contention)
        finally:
            for lease in turn.leases.values():
                contention.release(lease, stored=False)

    async def _contend(self, turn: _Turn, own: Mapping[str, Flight], contention: Contention) -> None:
        """Ask for all leases in one write; load what they were granted for, and then what was waited for."""
        contenders = self._contenders(turn, own)

        async def pursue(key: str, taken: Lease | Holder) -> Outcome:
            outcome = await contention.pursue(contenders[key], taken)
            if isinstance(outcome, Lease):
                turn.leases[key] = outcome
            else:
                turn.leases.pop(key, None)
            return outcome

        async def go_on(keys: Mapping[str, Lease | Holder | None]) -> None:
            outcomes: dict[str, Outcome | BaseException] = {}
            open_: dict[str, Lease | Holder] = {}
            for key, taken in keys.items():
                outcome = contention.judge(contenders[key], taken)
                if outcome is not None:
                    outcomes[key] = outcome
                elif taken is not None:
                    open_[key] = taken
            pursued = await asyncio.gather(
                *(pursue(key, taken) for key, taken in open_.items()), return_exceptions=True
            )
            outcomes.update(zip(open_, pursued, strict=True))
            await self._conclude(turn, own, outcomes, contention)

        asked = await contention.take_many(turn.batch.cache_type, contenders, turn.policy.load_timeout)
        taken = dict(zip(own, asked, strict=True))
        turn.leases.update({key: one for key, one in taken.items() if isinstance(one, Lease)})
        held = {key: one for key, one in taken.items() if isinstance(one, Holder)}
        free = {key: one for key, one in taken.items() if key not in held}
        _raise_first(
            await asyncio.gather(*(go_on(keys) for keys in (free, held) if keys), return_exceptions=True)
        )

    def _contenders(self, turn: _Turn, own: Mapping[str, Flight]) -> dict[str, Contender]:
        """What contends for the lease of each key."""
        policy, lookups, waits = turn.policy, turn.batch.lookups, not turn.batch.behind
        contender = self._loads.contender
        return {
            key: contender(flight, policy, lookups[key], turn.deadline, waits=waits)
            for key, flight in own.items()
        }

    async def _conclude(
        self,
        turn: _Turn,
        own: Mapping[str, Flight],
        outcomes: Mapping[str, Outcome | BaseException],
        contention: Contention,
    ) -> None:
        """Land what others have loaded, and load the rest."""
        batch, loads = turn.batch, self._loads
        rest: dict[str, Flight] = {}
        errors: list[BaseException] = []
        for key, outcome in outcomes.items():
            flight = own[key]
            if isinstance(outcome, BaseException):
                errors.append(outcome)
                _land_error(flight, outcome)
            elif outcome is Verdict.ELSEWHERE:
                loads.leave_elsewhere((batch.cache_type, key))
                _land(flight, VOID)
            elif isinstance(outcome, Lookup) and (
                loaded := loads.taken(batch.cache_type, outcome, values_returned_by(batch.function))
            ):
                _land(flight, loaded)
            else:
                rest[key] = flight
        if rest:
            await self._call(turn, rest, contention)
        _raise_first(errors)

    async def _call(
        self, turn: _Turn, flights: Mapping[str, Flight], contention: Contention | None = None
    ) -> None:
        """Call the loader for keys, store what it has for them, and land their flights."""
        try:
            values, seconds = await self._ask(turn, flights)
        except BaseException as error:  # a cancellation, too: whoever joined must hear of it
            for flight in flights.values():
                _land_error(flight, error)
            raise

        async def store(key: str, flight: Flight) -> None:
            loaded = await self._store(turn.batch, key, flight, values, seconds)
            lease = turn.leases.pop(key, None)
            if lease is not None and contention is not None:
                contention.release(lease, stored=loaded.stored)
            _land(flight, loaded)

        await asyncio.gather(*(store(key, flight) for key, flight in flights.items()))

    async def _ask(self, turn: _Turn, flights: Mapping[str, Flight]) -> tuple[Mapping[str, Any], float]:
        batch, loads, policy = turn.batch, self._loads, turn.policy
        counters = loads.counters(batch.cache_type)
        first, *others = flights.values()
        await loads.begin(first)
        for flight in others:
            flight.begin(first.epoch, first.born, first.known, first.kept)
            flight.loading_since = first.loading_since
        counters.loads += 1
        counters.early_refreshes += batch.behind and any(
            batch.lookups[key].state is State.FRESH for key in flights
        )
        began = time.perf_counter()
        try:
            async with load_limit(turn.deadline, policy, batch.cache_type, next(iter(flights))):
                values: Any = await batch.function(list(flights))
            _check(batch, values)
        except ThreadGoneError:
            for flight in flights.values():
                flight.thread_gone = True
            raise
        except Exception as error:  # somebody else's function: counted, and raised again
            counters.load_failures += 1
            for key in flights:
                loads.failing.failed((batch.cache_type, key), policy.fail_safe_throttle)
            if batch.behind:
                loads.failing.swallowed(batch.cache_type, error, policy.fail_safe_throttle)
            raise
        seconds = time.perf_counter() - began
        counters.durations["load"].observe(seconds)
        return values, seconds

    async def _store(
        self, batch: Batch, key: str, flight: Flight, values: Mapping[str, Any], seconds: float
    ) -> Loaded:
        self._loads.failing.worked((batch.cache_type, key))
        value = values.get(key, MISSING)
        if value is MISSING:
            return VOID
        counters = self._loads.counters(batch.cache_type)
        tag = None if value is None else batch.tags
        tags = self._loads.tagging.tags_of(value, tag, batch.cache_type, batch.name, counters)
        stored = tags is not None and await self._loads.store(
            batch.cache_type, key, value, tags, flight, ttl=batch.ttl
        )
        for_one = not stored and not is_shareable(value, self._loads.policy(batch.cache_type))
        return Loaded(value, tags, stored, seconds, for_one=for_one)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A batch under way."""

    batch: Batch
    policy: Policy
    deadline: float
    """When it has taken too long, by the event loop's clock."""
    leases: dict[str, Lease] = field(default_factory=dict[str, Lease])
    """What is to be given back, by key."""


def _values_of(flights: Mapping[str, Flight]) -> dict[str, Loaded]:
    """What loads that have ended have brought."""
    loaded = {key: flight.landed.result() for key, flight in flights.items()}
    return {key: result for key, result in loaded.items() if not result.void}


def _check(batch: Batch, values: Any) -> None:
    if not isinstance(values, Mapping):
        raise UsageError(
            f"{batch.name} returned {type(values).__name__}: a loader of many keys returns a mapping of keys "
            "to values"
        )
    if any(not isinstance(key, str) for key in values):  # pyright: ignore[reportUnknownVariableType]
        raise UsageError(f"{batch.name} returned a key that is no text: keys are those that it was given")
    if any(value is NOT_MODIFIED for value in values.values()):  # pyright: ignore[reportUnknownVariableType]
        raise UsageError(f"{batch.name} answered NOT_MODIFIED: only a loader of one key can")


def _land(flight: Flight, loaded: Loaded) -> None:
    if not flight.landed.done():
        flight.landed.set_result(loaded)


def _land_error(flight: Flight, error: BaseException) -> None:
    if flight.landed.done():
        return
    if isinstance(error, asyncio.CancelledError):
        flight.landed.cancel()
    else:
        flight.landed.set_exception(error)


def _raise_first(answers: Iterable[object]) -> None:
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
