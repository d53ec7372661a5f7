"""Making sure of what was appended: replicas have it, or the disk, before it counts as acknowledged.

`WAIT` holds up all that comes after it on its connection, so these appends have a connection of their own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from stoker.core.background import spawn
from stoker.core.errors import LinkError, ReplyError, UsageError
from stoker.core.link.calls import Command
from stoker.core.link.link import Link

logger = logging.getLogger(__name__)

#: Appends that share one wait at most.
MAX_BATCH = 1_000

#: What is told to those whose appends were not sent.
CLOSED = "the link was closed"


class Assurance:
    """Appends, and waits for whoever else must have it.

    Args:
        link: A connection of its own, not connected yet; its timeout must be longer than `timeout`.
        replicas: So many replicas must have it.
        on_disk: Whether the server must have it on its disk (in its append-only file).
        timeout: Seconds to wait for them.
    """

    def __init__(self, link: Link, *, replicas: int, on_disk: bool, timeout: float) -> None:
        self._link = link
        self._replicas = replicas
        self._on_disk = on_disk
        self._timeout_ms = max(1, int(timeout * 1000))
        self._reported = False
        self._queue: list[tuple[Command, asyncio.Future[tuple[Any, bool]]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._closing = False

    async def append(self, command: Command) -> tuple[Any, bool]:
        """Return the reply to a command that appends, and whether all who must have it do.

        Raises:
            LinkError: The server can't be reached, or this is being closed.
            ReplyError: It refuses the command.
        """
        if self._closing:
            raise LinkError(CLOSED)
        future: asyncio.Future[tuple[Any, bool]] = asyncio.get_running_loop().create_future()
        self._queue.append((command, future))
        if self._sender is None or self._sender.done():
            self._sender = spawn(self._send_all(), "stoker-assurance")
        return await future

    async def close(self) -> None:
        """Close the connection; a further append opens it again."""
        self._closing = True  # what has not been sent must not open the connection again
        try:
            await self._link.close()
            if self._sender is not None and not self._sender.done():
                await asyncio.wait([self._sender])  # it fails at once now
        finally:
            self._closing = False

    async def _send_all(self) -> None:
        """What comes while others are waited for shares the next wait: none waits for more than two."""
        while self._queue:
            batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
            try:
                await self._send([command for command, _ in batch], [future for _, future in batch])
            except (LinkError, ReplyError, UsageError) as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)

    async def _send(self, commands: list[Command], futures: list[asyncio.Future[tuple[Any, bool]]]) -> None:
        if self._closing:
            raise LinkError(CLOSED)
        await self._link.connect()
        waits: list[Command] = []
        if self._replicas:
            waits.append(("WAIT", self._replicas, self._timeout_ms))
        if self._on_disk:
            waits.append(("WAITAOF", 1, 0, self._timeout_ms))
        replies = await self._link.gather([*commands, *waits])
        missing = self._missing(replies[len(commands) :])
        self._report(missing)
        for reply, future in zip(replies, futures, strict=False):
            if future.done():
                continue  # its caller has given up
            if isinstance(reply, (LinkError, ReplyError)):
                future.set_exception(reply)
            else:
                future.set_result((reply, not missing))

    def _missing(self, waits: list[Any]) -> str:
        """Who does not have it, for people; empty where all do."""
        if self._replicas:
            have = waits[0]
            if isinstance(have, Exception) or have < self._replicas:
                return f"{have} of {self._replicas} replicas have it"
        if self._on_disk:
            have = waits[-1]
            if isinstance(have, Exception) or have[0] < 1:
                return f"it is not on the disk ({have})"
        return ""

    def _report(self, missing: str) -> None:
        """Tell each change of state once."""
        if bool(missing) == self._reported:
            return
        self._reported = bool(missing)
        if missing:
            logger.error("action=append_unassured reason=%s", missing, extra={"action": "append_unassured"})
        else:
            logger.warning("action=append_assured", extra={"action": "append_assured"})
