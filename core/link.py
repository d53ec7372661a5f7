"""One shared connection to the server for all coroutines of an event loop.

Commands of one loop turn leave in one write, and replies are matched in order, so fifty callers cost
little more than one. redis-py opens and authenticates the connection (URL, TLS, ACL user, unix socket);
then this module's protocol takes its transport over.

There are no timers per command. While replies are owed, a watchdog looks at whether any arrives: after
`timeout` without one the link is *stalled*, all callers are told, and further calls fail at once until the
replies do arrive, or the connection is given up and opened anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import hiredis
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import RedisError

from stoker.core.errors import LinkError, ReplyError, UsageError
from stoker.core.redaction import redact_url

logger = logging.getLogger(__name__)

_pack = cast("Callable[[Any], bytes]", hiredis.pack_command)

Argument = bytes | str | int | float
Command = tuple[Argument, ...]
Handler = Callable[[Any], None]

#: Commands that may wait for replies; more are refused at once.
MAX_PENDING = 100_000

#: So many looks of the watchdog in a row without a sign of life are a stall; a late look (a busy loop) is one
#: look only.
WATCHDOG_LOOKS = 6

#: Looks that would fit into `timeout`: silence may begin right after a look, and callers must have been told,
#: and woken, within it.
LOOKS_WITHIN_TIMEOUT = 7.5

#: Seconds a stalled connection may take to answer before it is given up.
STALL_PATIENCE_SECONDS = 2.0

#: Seconds between attempts to connect: the first pause and the longest.
RECONNECT_FIRST_SECONDS = 0.05
RECONNECT_LAST_SECONDS = 1.0


class _Wire(asyncio.Protocol):
    """Matches replies to handlers, in order, inside the read callback."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self.reader = hiredis.Reader(replyError=ReplyError, protocolError=LinkError)
        self.handlers: deque[Handler] = deque()
        self.received = 0
        """Times data came: a large reply that is still coming is no silence."""
        self._lost = lost

    def data_received(self, data: bytes) -> None:
        reader, handlers = self.reader, self.handlers
        self.received += 1
        try:
            reader.feed(data)
            reply = reader.gets()
            while reply is not False:
                handlers.popleft()(reply)
                reply = reader.gets()
        except (LinkError, IndexError):
            # No server speaks so, or an answer to no question: nothing that follows can be trusted.
            self._lost()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        self._lost()


class Link:
    """A connection that is kept open in the background and fails fast while it is not.

    Args:
        url: The server, as redis-py reads it.
        connect_timeout: Seconds one attempt to connect may take.
        timeout: Seconds without any reply within which callers are told.
        on_open: Awaited on each new connection before it serves anyone (the log's epoch check). If it
            raises `LinkError` or `ReplyError`, the connection is dropped and tried again.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float = 0.5,
        timeout: float = 0.1,
        on_open: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.url = url
        self.connect_timeout = connect_timeout
        self.timeout = timeout
        self.on_open = on_open
        self.connections = 0
        """Connections opened so far."""
        self.writes = 0
        """Writes so far; what is queued now leaves in the next one."""
        self.timeouts = 0
        """Times the server owed replies for longer than `timeout`."""
        self.last_error = "not connected yet"
        """Why the link is down, when it is."""
        self._wire: _Wire | None = None
        self._transport: asyncio.Transport | None = None
        self._stream: Any = None
        self._ready = False
        self._stalled = False
        self._buffer: list[bytes] = []
        self._flush_due = False
        self._before_flush: list[Callable[[], None]] = []
        self._watch: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reported_down = False

    # -- state ------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether calls are accepted."""
        return self._ready and not self._stalled

    async def connect(self) -> bool:
        """Start keeping the connection; wait for the first attempt and say whether it served."""
        if self._keeper is None:
            self._loop = asyncio.get_running_loop()
            self._tried.clear()
        self._check_loop()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="stoker-link")
        await self._tried.wait()
        return self._ready

    async def close(self) -> None:
        """Stop keeping the connection and fail what is under way."""
        self._check_loop()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        self._drop("the link was closed")
        self._tried.set()

    async def wait_ready(self) -> None:
        """Wait, without limit, until calls are accepted."""
        await self._up.wait()

    # -- calls ------------------------------------------------------------------------------------

    def send(self, command: Command) -> asyncio.Future[Any]:
        """Queue a command for this loop turn's write; the future gets its reply.

        Raises:
            LinkError: The link is down; nothing was sent.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(reply: Any) -> None:
            if future.done():
                return
            if isinstance(reply, (LinkError, ReplyError)):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.post(command, settle)
        return future

    def post(self, command: Command, handler: Handler) -> None:
        """Queue a command; `handler` is called with the reply (or error) inside the read callback."""
        if not self._ready or self._stalled:
            self._check_loop()
            raise LinkError(f"{redact_url(self.url)}: {self.last_error}")
        self._post(command, handler)

    def before_flush(self, callback: Callable[[], None]) -> None:
        """Call `callback` right before this loop turn's write, so that it can queue what the turn gathered.

        It is called once, also when the link went down meanwhile: then what it queues fails.
        """
        self._before_flush.append(callback)
        if not self._flush_due:
            self._flush_due = True
            self._check_loop().call_soon(self._flush)

    async def call(self, *command: Argument) -> Any:
        """Send one command and return its reply (RESP2 shapes, bytes).

        Raises:
            LinkError: The server can't be reached or does not answer.
            ReplyError: It answered with an error.
        """
        return await self.send(command)

    def gather(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Queue commands for this loop turn's write; the future gets all replies, errors in their places.

        It gets a `LinkError` when one of the replies does not come.

        Raises:
            LinkError: The link is down; nothing was sent.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        replies: list[Any] = []
        left = len(commands)

        def take(reply: Any) -> None:
            replies.append(reply)
            if isinstance(reply, LinkError):
                if not future.done():
                    future.set_exception(reply)
            elif len(replies) == left and not future.done():
                future.set_result(replies)

        for command in commands:
            self.post(command, take)
        if not commands:
            future.set_result(replies)
        return future

    async def calls(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write; an error reply stands in its place in the list.

        Raises:
            LinkError: The server can't be reached or does not answer.
        """
        futures = [self.send(command) for command in commands]
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, ReplyError):
                raise reply
        return list(replies)

    # -- inside -----------------------------------------------------------------------------------

    def _check_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None:
            raise UsageError(
                "this cache was connected on another event loop: make one for each loop, and connect it there"
            )
        return loop

    def _post(self, command: Command, handler: Handler) -> None:
        wire, loop = self._wire, self._check_loop()
        if wire is None:
            raise LinkError(f"{redact_url(self.url)}: {self.last_error}")
        if len(wire.handlers) >= MAX_PENDING:
            raise LinkError(f"{MAX_PENDING} commands wait for replies already")
        packed = _pack(command)
        wire.handlers.append(handler)
        self._buffer.append(packed)
        if not self._flush_due:
            self._flush_due = True
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._before_flush:
            callbacks, self._before_flush = self._before_flush, []
            for callback in callbacks:
                callback()
        self._flush_due = False
        self.writes += 1
        if not self._buffer:
            return
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        if self._transport is not None:
            self._transport.write(data)
            if self._watch is None:
                self._watch_on(self._activity(), 0)

    def _activity(self) -> tuple[int, int]:
        """What changes while the server takes or gives anything: data received, data still to be sent."""
        if self._wire is None or self._transport is None:
            return 0, 0
        return self._wire.received, self._transport.get_write_buffer_size()

    def _watch_on(self, activity: tuple[int, int], looks: int) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self.timeout / LOOKS_WITHIN_TIMEOUT, self._look, activity, looks)

    def _look(self, activity: tuple[int, int], looks: int) -> None:
        self._watch = None
        wire = self._wire
        if wire is None or not wire.handlers:
            self._recovered()
            return
        now = self._activity()
        if now != activity:
            if now[0] != activity[0]:
                self._recovered()
            self._watch_on(now, 0)
            return
        looks += 1
        if looks == WATCHDOG_LOOKS and not self._stalled:
            self._stall(wire)
        if looks >= WATCHDOG_LOOKS + LOOKS_WITHIN_TIMEOUT * STALL_PATIENCE_SECONDS / self.timeout:
            self._drop(f"no reply for {STALL_PATIENCE_SECONDS:g} s")
            return
        self._watch_on(activity, looks)

    def _stall(self, wire: _Wire) -> None:
        """Tell all who wait; their replies are thrown away when they come."""
        self._stalled = True
        self._up.clear()
        self.timeouts += 1
        self.last_error = f"no reply for {self.timeout * 1000:.0f} ms"
        self._report_down()
        error = LinkError(self.last_error)
        waiting, wire.handlers = wire.handlers, deque([_ignore] * len(wire.handlers))
        for handler in waiting:
            handler(error)

    def _recovered(self) -> None:
        if self._stalled:
            self._stalled = False
            if self._ready:
                self._up.set()
                self._report_up()

    def _drop(self, reason: str) -> None:
        """Close the connection and fail what waits on it."""
        wire, transport = self._wire, self._transport
        self._wire = self._transport = None
        self._ready = self._stalled = False
        self._up.clear()
        self._buffer.clear()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if transport is not None:
            transport.abort()
        self._stream = None
        self._gone.set()
        if wire is not None:
            self.last_error = reason
            error = LinkError(reason)
            while wire.handlers:
                wire.handlers.popleft()(error)

    def _report_down(self) -> None:
        if not self._reported_down:
            self._reported_down = True
            logger.warning(
                "action=link_down url=%s reason=%s",
                redact_url(self.url),
                self.last_error,
                extra={"action": "link_down"},
            )

    def _report_up(self) -> None:
        if self._reported_down:
            self._reported_down = False
            logger.warning("action=link_up url=%s", redact_url(self.url), extra={"action": "link_up"})

    async def _keep(self) -> None:
        pause, loop = RECONNECT_FIRST_SECONDS, asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._open()
                await self._gone.wait()
            except (RedisError, LinkError, ReplyError, OSError, TimeoutError) as error:
                self._fail(str(error) or type(error).__name__)
            except Exception as error:  # a keeper that dies would leave the process without a cache for good
                if not self._reported_down:
                    logger.exception("action=link_error", extra={"action": "link_error"})
                self._fail(f"{type(error).__name__}: {error}")
            if loop.time() - began > RECONNECT_LAST_SECONDS:
                pause = RECONNECT_FIRST_SECONDS  # it has served; one that is closed at once is not hammered
            self._tried.set()
            self._report_down()
            await asyncio.sleep(pause)
            pause = min(pause * 2, RECONNECT_LAST_SECONDS)

    def _fail(self, reason: str) -> None:
        self._drop(reason)
        self.last_error = reason

    async def _open(self) -> None:
        async with asyncio.timeout(self.connect_timeout):
            self._stream, self._transport = await _connect(self.url, self.connect_timeout)
        self._gone.clear()
        wire = _Wire(lambda: self._lost(wire))
        self._wire = wire
        self._transport.set_protocol(wire)
        self.connections += 1
        if self.on_open is not None:
            await self.on_open()
        if self._wire is wire:
            self._ready = True
            self._up.set()
            self._tried.set()
            self._report_up()

    def _lost(self, wire: _Wire) -> None:
        if self._wire is wire:
            self._drop("the server closed the connection")

    async def call_early(self, *command: Argument) -> Any:
        """`call` for `on_open`, before the link serves anyone else."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._post(command, lambda reply: None if future.done() else future.set_result(reply))
        reply = await future
        if isinstance(reply, (LinkError, ReplyError)):
            raise reply
        return reply


def _ignore(_reply: Any) -> None:
    """The caller was told long ago."""


async def _connect(url: str, limit: float) -> tuple[Any, asyncio.Transport]:
    """Let redis-py connect and authenticate, then take its transport."""
    pool = ConnectionPool.from_url(url, protocol=2, socket_timeout=None, socket_connect_timeout=limit)
    connection: Any = pool.connection_class(**pool.connection_kwargs)
    await connection.connect()
    writer = connection._writer  # noqa: SLF001  redis-py has no public way to hand a connection over
    connection._reader = connection._writer = None  # noqa: SLF001  it is ours now
    return writer, writer.transport
