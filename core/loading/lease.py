"""Leases: the right to load a key for the whole fleet.

A lease is a key with a short TTL that holds its holder's token, epoch and born: where the log stood when it
was taken. The holder renews it while its loader runs, and gives it back after the commit, in a script that
tells whoever waits. A holder that dies is replaced when the TTL has run out. Nothing depends on leases but
work that is done once instead of often: what may be stored is decided by the commit, what may be served by
the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.core.entries.entry import HEADER_BYTES
from stoker.core.errors import LinkError, ReplyError, StokerError
from stoker.core.keys import Keys
from stoker.core.link.link import Command, Link
from stoker.core.link.script import Script
from stoker.core.log.knowledge import Log
from stoker.core.log.position import START, format_position, parse_position
from stoker.core.ownership import RENEW

logger = logging.getLogger(__name__)

#: A lease outlives its holder for so long at most, in seconds; loads that may take less have shorter ones.
LEASE_SECONDS = 2.0
SHORTEST_LEASE_SECONDS = 0.5

#: A holder renews its lease after this share of it.
RENEWED_AFTER = 0.3

#: Seconds without a refusal after which leases are said to be granted again.
CALM_SECONDS = 10.0

#: When leases were refused, where they were not.
NEVER = float("-inf")

#: What is told when a load has ended: its result is stored, or there is none.
STORED, NOT_STORED = b"1", b"0"


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody else who has a lease."""

    value: bytes
    epoch: int
    """The log's epoch for its process; 0 where the value doesn't say."""
    born: int
    """Where the log stood for its process when it took the lease: its load began there, or later."""
    foreign: bool = False
    """The value is none that a process of Stoker writes: nobody renews it, or tells of its end."""


class Lease:
    """A lease that this process holds."""

    __slots__ = ("changed", "name", "renewal", "renewed_until", "seconds", "value")

    def __init__(self, name: str, value: str, seconds: float, renewed_until: float) -> None:
        self.name = name
        self.value = value
        self.seconds = seconds
        """It lives so long without a renewal."""
        self.changed = True
        """What is stored may be something else than the caller saw before it asked for the lease."""
        self.renewal: asyncio.TimerHandle | None = None
        self.renewed_until = renewed_until
        """By the event loop's clock; no load takes longer."""


class Leases:
    """Takes, renews and gives back the leases of one process.

    Args:
        link: Reaches the server.
        log: Says where a load begins.
        keys: Names the leases.
    """

    def __init__(self, link: Link, log: Log, keys: Keys) -> None:
        self._link = link
        self._log = log
        self._keys = keys
        self._take_over = Script("take_over_lease.lua")
        self._release = Script("release_lease.lua")
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._owed: set[asyncio.Future[Any]] = set()
        self._refused_at = NEVER

    def name(self, cache_type: str, key: str) -> str:
        """The Redis key of a lease, and the channel on which its end is told."""
        return self._keys.lease(cache_type, key)

    async def take(
        self, cache_type: str, key: str, patience: float, seen: bytes | None = None
    ) -> Lease | Holder | None:
        """Take a key's lease if nobody has it; see `take_many`."""
        return (await self.take_many(cache_type, {key: seen}, patience))[0]

    async def take_many(
        self, cache_type: str, keys: Mapping[str, bytes | None], patience: float
    ) -> list[Lease | Holder | None]:
        """Take the leases of keys that nobody has, in one write.

        Args:
            cache_type: The keys' type.
            keys: The keys, each with what the caller found stored, header first (empty where there was
                nothing): then the lease's `changed` says whether that still stands. None: it doesn't know.
            patience: Seconds that a load of them may take.

        Returns:
            Of each key the lease, or who has it; None where the server can't be asked or refuses: then load
            without one.
        """
        leases = [self._new(cache_type, key, patience) for key in keys]
        try:
            asked = self._link.gather(self._taking(cache_type, leases, keys))
        except LinkError:
            return [None] * len(leases)
        taken: list[Lease | Holder | None] = []
        try:
            replies = iter(await asked)
            for lease, seen in zip(leases, keys.values(), strict=True):
                reply = next(replies)
                if seen is not None:
                    lease.changed = next(replies) != seen[:HEADER_BYTES]
                taken.append(self._understand(lease, reply))
        except LinkError:
            self._release_late(leases)
            return [None] * len(leases)
        except BaseException:  # a cancellation, too
            for lease in leases:
                self.release(lease, stored=False)  # the server may have granted it
            raise
        return taken

    def _taking(
        self, cache_type: str, leases: Sequence[Lease], keys: Mapping[str, bytes | None]
    ) -> list[Command]:
        """What takes leases, and looks at what is stored where the caller knows what it found."""
        commands: list[Command] = []
        for lease, (key, seen) in zip(leases, keys.items(), strict=True):
            commands.append(("SET", lease.name, lease.value, "NX", "PX", int(lease.seconds * 1000), "GET"))
            if seen is not None:
                commands.append(("GETRANGE", self._keys.entry(cache_type, key), 0, HEADER_BYTES - 1))
        return commands

    async def take_over(
        self, cache_type: str, key: str, patience: float, holder: Holder
    ) -> Lease | Holder | None:
        """Take a lease away from a holder whose result nobody can use; answers are those of `take`."""
        lease = self._new(cache_type, key, patience)
        try:
            reply = await self._take_over.run(
                self._link, (lease.name,), holder.value, lease.value, int(lease.seconds * 1000)
            )
        except asyncio.CancelledError:
            self.release(lease, stored=False)
            raise
        except LinkError:
            self._release_late([lease])
            return None
        except ReplyError as error:
            reply = error
        return self._understand(lease, reply)

    def release(self, lease: Lease, *, stored: bool) -> None:
        """Give a lease back, and tell who waits whether there is a result; nobody waits for that here."""
        if lease.renewal is not None:
            lease.renewal.cancel()
            lease.renewal = None
        self._send_release(lease, STORED if stored else NOT_STORED)

    async def close(self) -> None:
        """Wait until what was given back has reached the server, as far as it answers."""
        for task in self._late:
            task.cancel()
        while self._owed or self._tasks:
            await asyncio.wait([*self._owed, *self._tasks])

    def _new(self, cache_type: str, key: str, patience: float) -> Lease:
        value = f"{secrets.token_hex(8)}:{self._log.epoch:016x}:{format_position(self._log.seen)}"
        seconds = min(LEASE_SECONDS, max(patience / 4, SHORTEST_LEASE_SECONDS))
        end = asyncio.get_running_loop().time() + patience
        return Lease(self._keys.lease(cache_type, key), value, seconds, end)

    def _understand(self, lease: Lease, reply: Any) -> Lease | Holder | None:
        if isinstance(reply, ReplyError):
            self._report(reply)
            return None
        self._report(None)
        if reply is None:
            self._renew_later(lease)
            return lease
        return _holder(bytes(reply))

    def _renew_later(self, lease: Lease) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < lease.renewed_until:
            lease.renewal = loop.call_later(lease.seconds * RENEWED_AFTER, self._start_renewal, lease)

    def _start_renewal(self, lease: Lease) -> None:
        _ = self._spawn(self._send_renewal(lease))

    async def _send_renewal(self, lease: Lease) -> None:
        try:
            held = await RENEW.run(self._link, (lease.name,), lease.value, int(lease.seconds * 1000))
        except (LinkError, ReplyError):
            held = 1  # perhaps the next one comes through
        if held and lease.renewal is not None:
            self._renew_later(lease)

    def _send_release(self, lease: Lease, message: bytes) -> None:
        owed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(_reply: Any) -> None:
            self._owed.discard(owed)
            if not owed.done():
                owed.set_result(None)

        arguments = (1, lease.name, lease.value, message, "PUBLISH")
        self._owed.add(owed)
        try:
            self._release.post(lambda head, handler: self._link.post((*head, *arguments), handler), answered)
        except LinkError:
            self._owed.discard(owed)  # its TTL gives it back

    def _release_late(self, leases: list[Lease]) -> None:
        """Give back what was asked for and not answered: the server may grant it when it goes on."""

        async def release() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(lease.seconds for lease in leases)):
                    await self._link.wait_ready()
                for lease in leases:
                    self.release(lease, stored=False)

        if leases:
            task = self._spawn(release())
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _report(self, refusal: ReplyError | None) -> None:
        """A server that is full, or forbids it: every process loads for itself, and that is said once."""
        if refusal is None and self._refused_at == NEVER:
            return
        now = time.monotonic()
        if refusal is None:
            if now - self._refused_at > CALM_SECONDS:
                self._refused_at = NEVER
                logger.warning("action=leases_granted", extra={"action": "leases_granted"})
            return
        if self._refused_at == NEVER:
            logger.warning("action=leases_refused reason=%s", refusal, extra={"action": "leases_refused"})
        self._refused_at = now


def _holder(value: bytes) -> Holder:
    _, _, rest = value.partition(b":")
    epoch, _, born = rest.partition(b":")
    try:
        return Holder(value, int(epoch, 16), parse_position(born))
    except (ValueError, StokerError):
        return Holder(value, 0, START, foreign=True)
