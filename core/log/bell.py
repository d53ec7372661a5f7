"""The bell: tells this process that a load it waits for, in another process, has ended.

Messages come over a second connection, which is opened when this process first has to wait. Nothing depends
on them: whoever waits looks again from time to time, and a bell that can't be had only means that it waits
longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from stoker.core.background import spawn
from stoker.core.errors import LinkError, ReplyError
from stoker.core.link.driver import Reader
from stoker.core.link.packing import pack

logger = logging.getLogger(__name__)

Open = Callable[[], Awaitable[tuple[Any, asyncio.Transport]]]
"""Opens an authenticated connection; the first of the two is kept for as long as the transport is used."""


class Ear:
    """Somebody who waits for the end of one load."""

    __slots__ = ("_rung", "message", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.message: bytes | None = None
        self._rung = asyncio.Event()

    def ring(self, message: bytes | None = None) -> None:
        """Wake whoever waits; without a message, only to look again."""
        self.message = message or self.message
        self._rung.set()

    async def wait(self, seconds: float) -> bytes | None:
        """Wait until the bell rings, so long at most; return what was told, if anything was."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()
        message, self.message = self.message, None
        return message


class _Channel:
    """What is listened to under one name."""

    __slots__ = ("ears", "subscribed")

    def __init__(self) -> None:
        self.ears: set[Ear] = set()
        self.subscribed = asyncio.Event()


class _Line(asyncio.Protocol):
    """The connection."""

    def __init__(self, take: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._reader = Reader(replyError=ReplyError, protocolError=LinkError)
        self._take = take
        self._lost = lost

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except LinkError:
            self._lost()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._lost()


class Bell:
    """Listens for the ends of loads in other processes.

    Args:
        open_connection: Opens the second connection.
        patience: Seconds that connecting, or subscribing, may hold a waiter up.
    """

    def __init__(self, open_connection: Open, patience: float) -> None:
        self._open_connection = open_connection
        self._patience = patience
        self._channels: dict[bytes, _Channel] = {}
        self._stream: Any = None
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._failing = False
        self.connections = 0
        """Connections opened so far."""

    async def listen(self, name: str) -> Ear:
        """Listen to a name; what is told after this has returned is heard, if the bell can be had at all."""
        ear, channel = Ear(name), self._channels.get(name.encode())
        if channel is None:
            channel = self._channels[name.encode()] = _Channel()
            if self._transport is not None:
                self._send("SUBSCRIBE", name)
        channel.ears.add(ear)
        if self._transport is None and (self._opening is None or self._opening.done()):
            self._opening = spawn(self._open(), "stoker-bell")
        try:
            async with asyncio.timeout(self._patience):
                await channel.subscribed.wait()
        except TimeoutError:
            self._drop("it does not answer")
        except asyncio.CancelledError:
            self.leave(ear)
            raise
        return ear

    def leave(self, ear: Ear) -> None:
        """Listen no longer."""
        name = ear.name.encode()
        channel = self._channels.get(name)
        if channel is None:
            return
        channel.ears.discard(ear)
        if not channel.ears:
            del self._channels[name]
            if self._transport is not None:
                self._send("UNSUBSCRIBE", name)

    async def close(self) -> None:
        """Close the connection."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self._close()

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                self._stream, transport = await self._open_connection()
        except (LinkError, ReplyError, OSError, TimeoutError) as error:
            self._drop(str(error) or type(error).__name__)
            return
        self._transport = transport
        self.connections += 1
        transport.set_protocol(_Line(self._take, lambda: self._lost(transport)))
        self._send("SUBSCRIBE", *self._channels)

    def _send(self, command: str, *names: str | bytes) -> None:
        if self._transport is not None and names and not self._transport.is_closing():
            self._transport.write(pack((command, *names)))

    def _take(self, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            self._drop(str(reply))
            return
        kind, name, *rest = reply
        channel = self._channels.get(name)
        if channel is None:
            return
        if kind == b"subscribe":
            channel.subscribed.set()
            self._report(None)
        elif kind == b"message":
            for ear in channel.ears:
                ear.ring(rest[0])

    def _lost(self, transport: asyncio.Transport) -> None:
        if self._transport is transport:
            self._drop("the server closed the connection")

    def _drop(self, reason: str) -> None:
        """Go on without: whoever waits is told nothing more, and who comes next tries again."""
        self._close()
        for channel in self._channels.values():
            channel.subscribed.set()
        self._channels = {}
        self._report(reason)

    def _close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._stream = None  # it would close the transport itself, and complain of it

    def _report(self, failure: str | None) -> None:
        if (failure is not None) == self._failing:
            return
        self._failing = failure is not None
        if failure is not None:
            logger.warning("action=bell_lost reason=%s", failure, extra={"action": "bell_lost"})
        else:
            logger.warning("action=bell_back", extra={"action": "bell_back"})
