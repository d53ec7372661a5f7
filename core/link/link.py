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
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from stoker.core.background import spawn
from stoker.core.errors import LinkError, ReplyError
from stoker.core.link.calls import Argument, Command, Handler
from stoker.core.link.connecting import open_transport
from stoker.core.link.link_reports import LinkReports
from stoker.core.link.sending import Sending
from stoker.core.link.watchdog import Activity, Watchdog
from stoker.core.link.wire import Wire

__all__ = ["Argument", "Command", "Handler", "Link"]

logger = logging.getLogger(__name__)

#: Seconds between attempts to connect: the first pause and the longest.
RECONNECT_FIRST_SECONDS = 0.05
RECONNECT_LAST_SECONDS = 1.0


class Link(Sending):
    """A connection that is kept open in the background and fails fast while it is not.

    Args:
        url: The server, as redis-py reads it.
        connect_timeout: Seconds one attempt to connect may take.
        timeout: Seconds without any reply within which callers are told.
        on_open: Awaited on each new connection before it serves anyone (the log's epoch check). If it
            raises `LinkError` or `ReplyError`, the connection is dropped and tried again.
    """

    is_cluster: ClassVar[bool] = False
    """Whether entries and log may lie on different servers."""

    commit_seconds: float = 0.0
    """On a cluster, how long after a load began it may be stored: a sweep trims only what is older."""

    masters: frozenset[str] = frozenset()
    """On a cluster, the servers that own slots, by names that change when one was started again."""

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float = 0.5,
        timeout: float = 0.1,
        on_open: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(url)
        self.connect_timeout = connect_timeout
        self.timeout = timeout
        self.on_open = on_open
        self.on_masters: Callable[[], None] = _nothing
        """Called when `masters` has changed, before any reply of a new one is handed over."""
        self.connections = 0
        """Connections opened so far."""
        self.timeouts = 0
        """Times the server owed replies for longer than `timeout`."""
        self._stream: Any = None
        self._watchdog = Watchdog(
            timeout, activity=self._activity, stalled=self._stall, answered=self._recovered, gone=self._drop
        )
        self._gone = asyncio.Event()
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._reports = LinkReports(url)

    # -- state ------------------------------------------------------------------------------------

    async def connect(self) -> bool:
        """Start keeping the connection; wait for the first attempt and say whether it served."""
        if self._keeper is None:
            self._begin(asyncio.get_running_loop())
        self.check_loop()
        if self._keeper is None:
            self._keeper = spawn(self._keep(), "stoker-link")
        await self._tried.wait()
        return self._ready

    async def close(self) -> None:
        """Stop keeping the connection and fail what is under way."""
        self.check_loop()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        self._drop("the link was closed")
        self._tried.set()

    async def wait_ready(self) -> None:
        """Wait, without limit, until calls are accepted."""
        await self._up.wait()

    async def survey(self) -> object:
        """Look which server holds what; the answer differs once one may not be what it was, or has others.

        None while keys are on their way from one server to another.

        Raises:
            LinkError: A server can't be asked.
            ReplyError: It refuses.
        """
        return self.connections

    async def open_another(self) -> tuple[Any, asyncio.Transport]:
        """Open a further connection to the server (on a cluster: to the log's), for what blocks or listens.

        Returns:
            What must be held as long as the connection is used, and its transport.

        Raises:
            LinkError: It was not found, is not there, or refuses.
            OSError: It can't be reached.
            TimeoutError: It takes longer than `connect_timeout`.
        """
        return await open_transport(self.url, self.connect_timeout)

    # -- inside -----------------------------------------------------------------------------------

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to this event loop; what is left of another one's, where it was closed, is no use here."""
        if self._loop is not None and self._loop is not loop:
            self._gone, self._up, self._tried = asyncio.Event(), asyncio.Event(), asyncio.Event()
            self._flush_due, self._before_flush = False, []
            self._forget()
            for forget in self.on_loop:
                forget()
        self._loop = loop
        self._tried.clear()

    def _sent(self) -> None:
        self._watchdog.start()

    def _activity(self) -> Activity | None:
        wire, transport = self._wire, self._transport
        if wire is None or transport is None or not wire.handlers:
            return None
        return wire.received, transport.get_write_buffer_size()

    def _stall(self) -> None:
        """Tell all who wait; their replies are thrown away when they come."""
        wire = self._wire
        if self._stalled or wire is None:
            return
        self._stalled = True
        self._up.clear()
        self.timeouts += 1
        self.last_error = f"no reply for {self.timeout * 1000:.0f} ms"
        self._reports.tell_down(self.last_error)
        error = LinkError(self.last_error)
        waiting, wire.handlers = wire.handlers, deque([_ignore] * len(wire.handlers))
        wire.fail(waiting, error)

    def _recovered(self) -> None:
        if self._stalled:
            self._stalled = False
            if self._ready:
                self._up.set()
                self._reports.tell_up()

    def _drop(self, reason: str) -> None:
        """Close the connection and fail what waits on it."""
        wire, transport = self._wire, self._transport
        self._wire = self._transport = None
        self._ready = self._stalled = False
        self._up.clear()
        self._forget()
        self._watchdog.stop()
        if transport is not None:
            transport.abort()
        self._stream = None
        self._gone.set()
        if wire is not None:
            self.last_error = reason
            waiting = list(wire.handlers)
            wire.handlers.clear()
            wire.fail(waiting, LinkError(reason))

    async def _keep(self) -> None:
        pause, loop = RECONNECT_FIRST_SECONDS, asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._open()
                await self._gone.wait()
            except (LinkError, ReplyError, OSError, TimeoutError) as error:
                self._fail(str(error) or type(error).__name__)
            except Exception as error:  # a keeper that dies would leave the process without a cache for good
                if not self._reports.down:
                    logger.exception("action=link_error", extra={"action": "link_error"})
                self._fail(f"{type(error).__name__}: {error}")
            if loop.time() - began > RECONNECT_LAST_SECONDS:
                pause = RECONNECT_FIRST_SECONDS  # it has served; one that is closed at once is not hammered
            self._tried.set()
            self._reports.tell_down(self.last_error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RECONNECT_LAST_SECONDS)

    def _fail(self, reason: str) -> None:
        self._drop(reason)
        self.last_error = reason

    async def _open(self) -> None:
        self._stream, self._transport = await self.open_another()
        self._gone.clear()
        wire = Wire(lambda: self._lost(wire), self._make_error)
        self._wire = wire
        self._transport.set_protocol(wire)
        self.connections += 1
        await self._greet()
        if self._wire is wire:
            self._ready = True
            self._up.set()
            self._tried.set()
            self._reports.tell_up()

    async def _greet(self) -> None:
        """What is said on a new connection before it serves."""
        if self.on_open is not None:
            await self.on_open()

    def _make_error(self, text: str) -> ReplyError:
        """Make an error reply, in the midst of reading: what it calls for must wait for the next turn."""
        return ReplyError(text)

    def _lost(self, wire: Wire) -> None:
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


def _nothing() -> None:
    """Nobody listens."""


def _ignore(_reply: Any) -> None:
    """The caller was told long ago."""
