"""How commands leave: all of a loop turn in one write, each with a handler that gets its reply."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from stoker.core.errors import LinkError, UsageError
from stoker.core.link.calls import Calls, Command, Handler
from stoker.core.link.packing import pack
from stoker.core.link.wire import Wire
from stoker.core.settings.redaction import redact_url

logger = logging.getLogger(__name__)

#: Commands of one loop turn that leave together; what the turn queues further leaves in writes after it, so
#: that the server works on the first while the last are made. Fewer would not be worth a write of their own.
WRITE_TOGETHER = 25

#: Commands that may wait for replies; more are refused at once.
MAX_PENDING = 100_000

#: Bytes that may wait to be sent before more is refused: a server that takes nothing must cost no memory.
MAX_UNSENT_BYTES = 64 * 1024 * 1024


class Sending(Calls):
    """Queues commands for one connection and sends them; a `Link` keeps the connection open.

    Args:
        url: The server, for messages.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.writes = 0
        """Writes so far; what is queued now leaves in the next one."""
        self.last_error = "not connected yet"
        """Why the link is down, when it is."""
        self._wire: Wire | None = None
        self._transport: asyncio.Transport | None = None
        self._ready = False
        self._stalled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._buffer: list[bytes] = []
        self._flush_due = False
        self._before_flush: list[Callable[[], None]] = []
        self._unsent = 0
        self.on_write: list[Callable[[], None]] = []
        """Called right before each write."""
        self.on_loop: list[Callable[[], None]] = []
        """Called when the link begins to belong to another event loop: what waited on the last is lost."""

    @property
    def ready(self) -> bool:
        """Whether calls are accepted."""
        return self._ready and not self._stalled

    def post(self, command: Command, handler: Handler) -> None:
        """Queue a command; `handler` is called with the reply (or error) inside the read callback."""
        self._check_ready()
        self._post(command, handler)

    def post_packed(
        self, packed: bytes, handler: Handler, loop: asyncio.AbstractEventLoop, *, more: bool = False
    ) -> None:
        """Queue a command that is packed already; only where all are for one server.

        Args:
            packed: The command.
            handler: Called with the reply (or error) inside the read callback.
            loop: The event loop that runs.
            more: Whether another follows at once that this one is to leave with.

        Raises:
            LinkError: The link is down; nothing was sent.
            UsageError: The link belongs to another event loop.
        """
        wire = self._wire
        if (
            wire is None
            or not self._ready
            or self._stalled
            or len(wire.handlers) >= MAX_PENDING
            or self._unsent > MAX_UNSENT_BYTES
            or loop is not self._loop
        ):
            if self._buffer and loop is self._loop:
                self.flush_soon()  # one that was to leave with this one leaves without it, if need be
            self._check_ready()
            self._queue(packed, handler)
            return
        # As `_queue`, for what is almost all that is sent.
        self._unsent += len(packed)
        handlers, buffer = wire.handlers, self._buffer
        handlers.append(handler)
        buffer.append(packed)
        if more:
            return
        waiting = len(buffer)
        # Where no reply is owed, the server has nothing else to do: the turn's first command need not wait.
        if waiting > WRITE_TOGETHER or waiting == len(handlers):
            self.send_now()
        elif not self._flush_due:
            self.flush_soon()

    def post_all(self, packed: Sequence[bytes]) -> asyncio.Future[list[Any]]:
        """Queue packed commands; the future gets all replies, errors in their places.

        Raises:
            LinkError: The link is down; nothing was sent.
        """
        self._check_ready()
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        replies: list[Any] = []

        def take_last(reply: Any) -> None:
            replies.append(reply)
            if not future.done():
                future.set_result(replies)

        handlers: list[Handler] = [replies.append] * (len(packed) - 1)
        self._queue(b"".join(packed), *handlers, take_last)
        return future

    def before_flush(self, callback: Callable[[], None]) -> None:
        """Call `callback` right before the next write, so that it can queue what was gathered for it.

        It is called once, also when the link went down meanwhile: then what it queues fails.

        Raises:
            UsageError: The link belongs to another event loop.
        """
        self.check_loop()
        self._before_flush.append(callback)
        self.flush_soon()

    def send_now(self) -> None:
        """Send what this loop turn has gathered so far, so that the server works on it meanwhile.

        What asked to be called before the turn's write is called before this one.
        """
        if self._buffer:
            due = self._flush_due
            self._flush()
            self._flush_due |= due  # the turn's own is still to come

    def flush_soon(self) -> None:
        """Send what this loop turn gathers once it is over."""
        if not self._flush_due:
            asyncio.get_running_loop().call_soon(self._flush)
            self._flush_due = True

    # -- inside -----------------------------------------------------------------------------------

    @abstractmethod
    def _sent(self) -> None:
        """Something was written: replies are owed."""

    def check_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop that runs.

        Raises:
            UsageError: The link belongs to another one.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None:
            raise UsageError(
                "this cache was connected on another event loop: make one for each loop, and connect it there"
            )
        return loop

    def _check_ready(self) -> None:
        if not self._ready or self._stalled:
            self.check_loop()
            raise LinkError(f"{redact_url(self.url)}: {self.last_error}")

    def _post(self, command: Command, handler: Handler) -> None:
        """Queue a command, also before the link serves."""
        self._queue(pack(command), handler)

    def _queue(self, packed: bytes, *handlers: Handler) -> None:
        wire = self._wire
        if wire is None:
            raise LinkError(f"{redact_url(self.url)}: {self.last_error}")
        if len(wire.handlers) >= MAX_PENDING:
            raise LinkError(f"{MAX_PENDING} commands wait for replies already")
        self.check_loop()
        if self._unsent > MAX_UNSENT_BYTES:
            self._make_room()
        self._unsent += len(packed)
        self.flush_soon()
        wire.handlers.extend(handlers)
        self._buffer.append(packed)

    def _make_room(self) -> None:
        """Refuse more while too much waits to be sent."""
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        self._unsent = waiting + sum(map(len, self._buffer))
        if self._unsent > MAX_UNSENT_BYTES:
            raise LinkError(f"{self._unsent} bytes wait to be sent already")

    def _flush(self) -> None:
        for callback in self.on_write:
            callback()
        if self._before_flush:
            self._call_before_flush()
        self._flush_due = False
        self.writes += 1
        if self._before_flush:  # a callback asked for the next write
            self.flush_soon()
        if not self._buffer:
            return
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(data)
            self._unsent = transport.get_write_buffer_size()
            self._sent()

    def _call_before_flush(self) -> None:
        callbacks, self._before_flush = self._before_flush, []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # the others, and the write, must not pay for it
                logger.exception("action=before_flush_error", extra={"action": "before_flush_error"})

    def _forget(self) -> None:
        """Send nothing of what is queued."""
        self._buffer.clear()
        self._unsent = 0
