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
from typing import Any, cast

import hiredis
from redis.exceptions import RedisError

from stoker.core.background import Background
from stoker.core.clock import boottime
from stoker.core.errors import LinkError, ReplyError, StokerError
from stoker.core.keys import Keys
from stoker.core.link import Link, _connect  # pyright: ignore[reportPrivateUsage]
from stoker.core.log import InvalidationLog
from stoker.core.position import START, format_position, parse_position

logger = logging.getLogger(__name__)

_pack = cast("Callable[[Any], bytes]", hiredis.pack_command)

#: After a ring, so many seconds pass before the log is read: records that come meanwhile share the check.
HOLD_SECONDS = 0.01

#: Checks by time come so many times within the bound.
CHECKS_WITHIN_BOUND = 3

#: The bound is held to be no shorter: checks by time must leave room for other work.
SHORTEST_BOUND_SECONDS = 0.015

#: A doorbell that gives no answer for so long after it should have is lost.
SILENCE_SECONDS = 2.0

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
        self._bell = Background(self._listen, "stoker-doorbell")
        self._reported_lost = False
        self.rings = 0
        """Times the doorbell rang."""

    def start(self) -> None:
        """Begin; a second start does nothing."""
        self._checks.start()
        self._bell.start()

    async def stop(self) -> None:
        """End, and close the doorbell's connection."""
        await self._bell.stop()
        await self._checks.stop()

    async def _check_by_time(self) -> None:
        while True:
            await self._link.wait_ready()
            left = self._log.proved + self._interval - boottime()
            if left > 0:
                await asyncio.sleep(min(left, self._interval))
            elif not await self._log.catch_up():
                await asyncio.sleep(self._interval)

    async def _listen(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self._link.wait_ready()
            try:
                async with _open(self._link) as bell:
                    if self._reported_lost:
                        self._reported_lost = False
                        logger.warning("action=doorbell_back", extra={"action": "doorbell_back"})
                    while True:
                        await self._answer(await self._wait_for_ring(bell))
                        pause = FIRST_PAUSE_SECONDS
            except (RedisError, StokerError, OSError, TimeoutError) as error:
                self._report_lost(error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _wait_for_ring(self, bell: _Doorbell) -> int:
        """The position of a record beyond what is known; START when there was none within the interval."""
        command = (
            "XREAD",
            "BLOCK",
            max(1, int(self._interval * 1000)),
            "COUNT",
            1,
            "STREAMS",
            self._keys.log,
        )
        async with asyncio.timeout(self._interval + SILENCE_SECONDS):
            reply = await bell.ask(*command, format_position(self._log.seen))
        return parse_position(reply[0][1][0][0]) if reply else START

    async def _answer(self, position: int) -> None:
        if position <= self._log.seen:
            return  # a read brought it meanwhile
        self.rings += 1
        await asyncio.sleep(HOLD_SECONDS)
        if position > self._log.seen and not await self._log.catch_up():
            await asyncio.sleep(self._interval)  # it would ring again at once

    def _report_lost(self, error: Exception) -> None:
        """Once, and not when the link is gone, too: that is said already."""
        if self._link.ready and not self._reported_lost:
            self._reported_lost = True
            reason = str(error) or type(error).__name__
            logger.warning("action=doorbell_lost reason=%s", reason, extra={"action": "doorbell_lost"})


class _Doorbell(asyncio.Protocol):
    """A connection that asks one question at a time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._reader = hiredis.Reader(replyError=ReplyError, protocolError=LinkError)
        self._answer: asyncio.Future[Any] | None = None
        self._lost = False

    async def ask(self, *command: bytes | str | int) -> Any:
        """Send a command and wait for its reply.

        Raises:
            LinkError: The connection is gone.
            ReplyError: The server refuses.
        """
        if self._lost:
            raise LinkError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(_pack(command))
        reply = await self._answer
        if isinstance(reply, (LinkError, ReplyError)):
            raise reply
        return reply

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            reply = self._reader.gets()
        except LinkError as error:
            reply = error
        if reply is not False:
            self._settle(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._settle(LinkError(str(exc) if exc else "the server closed the connection"))

    def _settle(self, reply: Any) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)


@asynccontextmanager
async def _open(link: Link) -> AsyncGenerator[_Doorbell]:
    """A further connection to the link's server."""
    async with asyncio.timeout(link.connect_timeout):
        stream, transport = await _connect(link.url, link.connect_timeout)
    bell = _Doorbell(transport)
    transport.set_protocol(bell)
    try:
        yield bell
    finally:
        transport.abort()
        del stream  # it closes the transport when nobody holds it
