"""Contending for a key's lease: who gets it loads, who doesn't waits for the result.

A waiter never takes a result on somebody's word: when it is told that the load has ended, it looks the
entry up, strictly, as of that moment. When what it knows says that the holder's result will be dead, it
doesn't wait for it, but takes the lease over. When two holders brought nothing, it loads without a lease:
waiters never queue up behind a loader that fails, or one whose values can't be stored.
"""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.core.counters import TypeCounters
from stoker.core.entries.lookup import Lookup, State
from stoker.core.entries.storage import Storage
from stoker.core.loading.lease import NOT_STORED, Holder, Lease, Leases
from stoker.core.log.bell import Bell, Ear
from stoker.core.log.fleet_log import Log
from stoker.core.log.position import join_position
from stoker.core.settings.policy import Policy

if TYPE_CHECKING:
    from stoker.core.loading.flights import Flight

#: A waiter looks again after so many seconds even if it is told nothing: at least, and at most.
SHORTEST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 0.7

#: A waiter waits for so many holders, one after the other.
MOST_HOLDERS = 2


class Verdict(enum.Enum):
    """How it ends, where it ends neither with a lease nor with another's result."""

    ALONE = 1
    """Load without a lease."""
    ELSEWHERE = 2
    """Somebody else loads, and it was not asked to wait."""


Outcome = Lease | Lookup | Verdict


@dataclass(frozen=True, slots=True)
class Contender:
    """A load that needs the lease of its key."""

    flight: Flight
    policy: Policy
    counters: TypeCounters
    seen: bytes | None
    """What was found stored, header first; None where that is not known."""
    waits: bool
    """Whether it waits for the result of somebody else's load."""
    deadline: float
    """When it has waited for too long, by the event loop's clock."""


class Contention:
    """Gets leases for loads, or the results of those who have them."""

    def __init__(self, leases: Leases, bell: Bell, storage: Storage, log: Log) -> None:
        self._leases = leases
        self._bell = bell
        self._storage = storage
        self._log = log

    async def enter(self, contender: Contender) -> Outcome:
        """Get the lease, or the result of whoever has it.

        Raises:
            TimeoutError: The load of somebody else took longer than the type's `load_timeout`.
        """
        flight, patience = contender.flight, contender.policy.load_timeout
        taken = await self._leases.take(flight.cache_type, flight.key, patience, contender.seen)
        outcome = self.judge(contender, taken)
        return Verdict.ALONE if taken is None else outcome or await self.pursue(contender, taken)

    async def take_many(
        self, cache_type: str, contenders: Mapping[str, Contender], patience: float
    ) -> list[Lease | Holder | None]:
        """Ask for the leases of keys of a type once, in one write."""
        seen = {key: contender.seen for key, contender in contenders.items()}
        return await self._leases.take_many(cache_type, seen, patience)

    def judge(self, contender: Contender, taken: Lease | Holder | None) -> Outcome | None:
        """Say how it ends, where that is plain from the answer to the first attempt."""
        if taken is None:
            return Verdict.ALONE
        if isinstance(taken, Lease):
            contender.counters.leases_won += 1
            return taken if contender.seen is None or not taken.changed else None
        if not contender.waits:
            return Verdict.ELSEWHERE
        return Verdict.ALONE if self._settles(contender) else None

    async def pursue(self, contender: Contender, taken: Lease | Holder) -> Outcome:
        """Go on from a first attempt of which `judge` could not say how it ends.

        Raises:
            TimeoutError: As `enter`.
        """
        if isinstance(taken, Lease):
            return await self._still_needed(contender, taken)
        contender.counters.leases_waited += 1
        flight = contender.flight
        ear = await self._bell.listen(self._leases.name(flight.cache_type, flight.key))
        flight.wake = ear.ring
        try:
            return await self._wait(contender, taken, ear)
        finally:
            flight.wake = None
            self._bell.leave(ear)

    def release(self, lease: Lease, *, stored: bool) -> None:
        """Give a lease back after its load, and tell whoever waits."""
        self._leases.release(lease, stored=stored)

    async def close(self) -> None:
        """Give back what is to be given back, and listen no longer."""
        await self._leases.close()
        await self._bell.close()

    async def _wait(self, contender: Contender, first: Holder, ear: Ear) -> Outcome:
        flight, leases, loop = contender.flight, self._leases, asyncio.get_running_loop()
        patience, known, holders = contender.policy.load_timeout, first, 1
        while True:
            # It listens now: who ended before that has left the lease free, and a result behind.
            taken = await leases.take(flight.cache_type, flight.key, patience)
            if isinstance(taken, Holder) and self._is_overtaken(flight, taken):
                taken = await leases.take_over(flight.cache_type, flight.key, patience, taken)
                if isinstance(taken, Lease):
                    contender.counters.leases_taken_over += 1
                    return taken
            if taken is None:
                return Verdict.ALONE
            if isinstance(taken, Lease):
                contender.counters.leases_won += 1
                return await self._still_needed(contender, taken)
            if taken.value != known.value:
                known, holders = taken, holders + 1
                if holders > MOST_HOLDERS:
                    return Verdict.ALONE
            told = await self._hear(contender, ear, loop)
            if told is not None:
                lookup = await self._look(contender)
                if lookup.state is State.FRESH:
                    return lookup
                if told == NOT_STORED or lookup.state is State.UNREACHABLE:
                    return Verdict.ALONE

    async def _hear(self, contender: Contender, ear: Ear, loop: asyncio.AbstractEventLoop) -> bytes | None:
        left = contender.deadline - loop.time()
        if left <= 0:
            raise TimeoutError(
                f"{contender.flight.cache_type}:{contender.flight.key} is being loaded by another process "
                f"for longer than load_timeout={contender.policy.load_timeout:g} s"
            )
        # Spread, so that the waiters of a holder that died don't come at once.
        pause = random.uniform(SHORTEST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)  # noqa: S311
        return await ear.wait(min(pause, left))

    async def _look(self, contender: Contender) -> Lookup:
        """Look the key up; what is found serves everybody who looked at the log before now."""
        flight, log = contender.flight, self._log
        at = log.epoch, log.known, log.kept.total
        lookup = await self._storage.look_up_past_memory(
            flight.cache_type, flight.key, contender.policy, contender.counters
        )
        if lookup.state is State.FRESH and lookup.entry is not None:
            flight.begin(at[0], lookup.entry.born, at[1], at[2])
        return lookup

    async def _still_needed(self, contender: Contender, lease: Lease) -> Outcome:
        """The lease was free because a load has ended: give it back if that left a result."""
        try:
            lookup = await self._look(contender)
        except BaseException:  # a cancellation, too: nobody else would give it back
            self._leases.release(lease, stored=False)
            raise
        if lookup.state is State.FRESH:
            self._leases.release(lease, stored=True)
            return lookup
        return lease

    def _settles(self, contender: Contender) -> bool:
        """Whether an invalidation still holds for a source that lags: all that is loaded now will be dead."""
        settle = contender.policy.settle
        if not settle:
            return False
        since = join_position(int((time.time() - settle) * 1000), 0)
        return bool(self._log.killer(contender.flight.cache_type, contender.flight.key, (), since))

    def _is_overtaken(self, flight: Flight, holder: Holder) -> bool:
        """Whether something that is known here has killed what the holder loads."""
        log = self._log
        if holder.foreign:
            return True
        if not holder.epoch or not log.epoch:
            return False
        if holder.born < log.history.swept:
            return True  # it can't be stored any more
        if holder.born < log.known_from:
            return False
        if holder.epoch != log.epoch:
            return True
        return bool(log.killer(flight.cache_type, flight.key, (), holder.born))
