"""The follower: keeps a process's knowledge of the log young, for what it serves from memory.

A doorbell, a connection of its own, waits for the log to grow (`XREAD BLOCK`). It only rings: what was
appended is then read by the ordinary check on the shared link, after a hold in which more may gather. When
nothing rings, a check goes out by time, often enough that `log.proved` is never older than the bound while
the link is well. Without the doorbell, the checks by time go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from stoker.core.background import Background
from stoker.core.clock import boottime
from stoker.core.errors import LinkError, ReplyError, StokerError
from stoker.core.keys import Keys
from stoker.core.link.driver import Reader
from stoker.core.link.link import Link
from stoker.core.link.packing import pack
from stoker.core.log.fleet_log import Check, InvalidationLog
from stoker.core.log.position import START, format_position, parse_position

logger = logging.getLogger(__name__)

#: After a ring, at least so many seconds pass before the log is read: records that come together, and the
#: next ones soon after them, share the check.
GATHER_SECONDS = 0.002
HOLD_SECONDS = 0.01

#: Checks by time come so many times within the bound.
CHECKS_WITHIN_BOUND = 3

#: The bound is held to be no shorter: checks by time must leave room for other work.
SHORTEST_BOUND_SECONDS = 0.015

#: A doorbell that gives no answer for so long after it should have is lost.
SILENCE_SECONDS = 2.0

#: When a question was asked, where none is open.
NEVER = float("inf")

#: Seconds between attempts to open a doorbell: the first pause and the longest.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0


class Follower:
    """Follows the log in the background.

    Args:
        log: What is kept young.
        link: The connection that its checks use, and the server that the doorbell opens a further one to.
        keys: Names the log.
        bound: Seconds that the knowledge may be old: the shortest `memory_bound` of the types in memory.
    """

    def __init__(self, log: InvalidationLog, link: Link, keys: Keys, bound: float) -> None:
        self._log = log
        self._link = link
        self._keys = keys
        self._interval = max(bound, SHORTEST_BOUND_SECONDS) / CHECKS_WITHIN_BOUND
        self._checks = Background(self._check_by_time, "stoker-follower")
        self._listener = Background(self._listen, "stoker-doorbell")
        self._reading_on: set[asyncio.Task[None]] = set()
        self._bell: _Doorbell | None = None
        self._looked_at = 0.0
        self._reported_lost = False
        self.rings = 0
        """Times the doorbell rang, and the log was read for it."""

    def start(self) -> None:
        """Begin; a second start does nothing."""
        self._checks.start()
        self._listener.start()

    async def stop(self) -> None:
        """End, and close the doorbell's connection."""
        await self._listener.stop()
        await self._checks.stop()
        for task in self._reading_on:
            task.cancel()
        await asyncio.gather(*self._reading_on, return_exceptions=True)

    # -- by time ----------------------------------------------------------------------------------

    async def _check_by_time(self) -> None:
        while True:
            await self._link.wait_ready()
            if (
                self._bell is not None
                and self._bell.waits_since < boottime() - self._interval - SILENCE_SECONDS
            ):
                self._bell.give_up("it gives no answer")
            left = self._log.proved + self._interval - boottime()
            if left > 0:
                await asyncio.sleep(min(left, self._interval))
            elif not await self._log.catch_up():
                await asyncio.sleep(self._interval)

    # -- by the doorbell --------------------------------------------------------------------------

    async def _listen(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self._link.wait_ready()
            try:
                async with _open(self._link, self._rang) as bell:
                    self._bell = bell
                    self._arm(bell)
                    await bell.answered.wait()
                    if not bell.lost.done():
                        self._report_back()
                        pause = FIRST_PAUSE_SECONDS
                    raise await bell.lost
            except (StokerError, OSError, TimeoutError) as error:
                self._report_lost(error)
            finally:
                self._bell = None
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _arm(self, bell: _Doorbell) -> None:
        """Wait for a record beyond what is known now, and come back without one after a while."""
        block = max(1, int(self._interval * 1000))
        seen = format_position(self._log.seen)
        bell.ask("XREAD", "BLOCK", block, "COUNT", 1, "STREAMS", self._keys.log, seen)

    def _rang(self, bell: _Doorbell, reply: Any) -> None:
        """Read the log soon, if there is a record that nobody has read meanwhile."""
        position = parse_position(reply[0][1][0][0]) if reply else START
        if position <= self._log.seen:
            self._arm(bell)
            return
        loop = asyncio.get_running_loop()
        delay = max(GATHER_SECONDS, self._looked_at + HOLD_SECONDS - loop.time())
        loop.call_later(delay, self._look, bell, position)

    def _look(self, bell: _Doorbell, position: int) -> None:
        if bell is not self._bell:
            return
        if position <= self._log.seen:
            self._arm(bell)
            return
        self.rings += 1
        self._looked_at = asyncio.get_running_loop().time()
        try:
            check = self._log.check()
        except LinkError:
            self._read_on(bell, position)
        else:
            check.then(lambda: self._looked(bell, check, position))

    def _looked(self, bell: _Doorbell, check: Check, position: int) -> None:
        if bell is not self._bell:
            return
        if check.complete and position <= self._log.seen:
            self._arm(bell)
        else:
            self._read_on(bell, position)

    def _read_on(self, bell: _Doorbell, position: int) -> None:
        """There is more than one check brings, or the log is not as it was, or the link is down."""

        async def read_on() -> None:
            if not await self._log.catch_up() or position > self._log.seen:
                await asyncio.sleep(self._interval)  # it would ring again at once
            if bell is self._bell:
                self._arm(bell)

        task = asyncio.create_task(read_on(), name="stoker-follower-reads-on")
        self._reading_on.add(task)
        task.add_done_callback(self._reading_on.discard)

    def _report_back(self) -> None:
        if self._reported_lost:
            self._reported_lost = False
            logger.warning("action=doorbell_back", extra={"action": "doorbell_back"})

    def _report_lost(self, error: Exception) -> None:
        """Once, and not when the link is gone, too: that is said already."""
        if self._link.ready and not self._reported_lost:
            self._reported_lost = True
            reason = str(error) or type(error).__name__
            logger.warning("action=doorbell_lost reason=%s", reason, extra={"action": "doorbell_lost"})


class _Doorbell(asyncio.Protocol):
    """A connection that has one question open at a time; it calls back with each answer.

    Attributes:
        answered: Set at the first answer that is no error.
        lost: Why it is of no use any more.
        waits_since: When the open question was asked, in seconds of `clock.boottime`; infinite without one.
    """

    def __init__(self, transport: asyncio.Transport, rang: Callable[[_Doorbell, Any], None]) -> None:
        self._transport = transport
        self._reader = Reader(replyError=ReplyError, protocolError=LinkError)
        self._rang = rang
        self.answered = asyncio.Event()
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self.waits_since = NEVER

    def ask(self, *command: bytes | str | int) -> None:
        """Ask the server; once the connection is lost, nothing comes back."""
        self.waits_since = boottime()
        if not self._transport.is_closing():
            self._transport.write(pack(command))

    def give_up(self, reason: str) -> None:
        """Close it, if it isn't lost already."""
        self._lose(LinkError(reason))

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            reply = self._reader.gets()
        except LinkError as error:
            reply = error
        if isinstance(reply, (LinkError, ReplyError)):
            self._lose(reply)
        elif reply is not False:
            self.waits_since = NEVER
            self.answered.set()
            self._rang(self, reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(LinkError(str(exc) if exc else "the server closed the connection"))

    def _lose(self, error: Exception) -> None:
        self.answered.set()
        if not self.lost.done():
            self.lost.set_result(error)
        self._transport.abort()


@asynccontextmanager
async def _open(link: Link, rang: Callable[[_Doorbell, Any], None]) -> AsyncGenerator[_Doorbell]:
    """A further connection to the link's server."""
    stream, transport = await link.open_another()
    bell = _Doorbell(transport, rang)
    transport.set_protocol(bell)
    try:
        yield bell
    finally:
        transport.abort()
        del stream  # it closes the transport when nobody holds it
