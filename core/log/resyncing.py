"""Looking at a lost log anew, until it is known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stoker.core.background import spawn
from stoker.core.errors import StokerError

logger = logging.getLogger(__name__)

#: Seconds between attempts while the server refuses: the first and the longest.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0


class Resyncing:
    """Looks at the log in the background; who reads waits for that.

    Args:
        look: Looks at it.
        lose: Doubts it once more, and begins to look.
        is_known: Whether it is known.
        ready: Waits until the server can be asked.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[None]],
        *,
        lose: Callable[[], None],
        is_known: Callable[[], bool],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._look = look
        self._lose = lose
        self._is_known = is_known
        self._ready = ready
        self._task: asyncio.Task[None] | None = None
        self._retrying: asyncio.Task[None] | None = None
        self._failed = False

    def begin(self) -> None:
        """Look, if nobody does."""
        if self._task is None or self._task.done():
            self._task = spawn(self._look_quietly(), "stoker-log-resync")

    async def wait(self) -> None:
        """Wait until the look that is under way has ended."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Look no more."""
        for task in (self._retrying, self._task):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _look_quietly(self) -> None:
        try:
            await self._look()
            self._failed = False
        except StokerError as error:
            if not self._failed:
                self._failed = True
                said = {"action": "log_resync_failed"}
                logger.warning("action=log_resync_failed reason=%s", error, extra=said)
            if self._retrying is None or self._retrying.done():
                self._retrying = spawn(self._look_again(), "stoker-log-retry")

    async def _look_again(self) -> None:
        """Look until the log is known: without a new connection, nobody else would."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            await self._ready()
            if self._is_known():
                return
            self._lose()
            await self.wait()
