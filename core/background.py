"""A coroutine that runs beside the others until it is stopped."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds before what raised begins anew: the first pause and the longest.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 30.0


def spawn(work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start what outlives whoever starts it, in a context of its own.

    In the caller's, all that hangs on the first request would live as long as a connection, and stand in
    its log lines.
    """
    return asyncio.create_task(work, name=name, context=contextvars.Context())


async def end_each(*steps: Callable[[], Awaitable[object]]) -> None:
    """Take each step of an end, whatever became of those before it.

    Raises:
        Exception: What the first of them raised that did.
    """
    first: BaseException | None = None
    for step in steps:
        try:
            await step()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  it is raised when all have ended
            first = first or error
    if first is not None:
        raise first


class Background:
    """One task, started and stopped any number of times.

    Args:
        run: What runs; it ends by being cancelled. When it raises, that is told, and it begins anew.
        name: The task's name.
    """

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._run = run
        self._name = name
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._task is not None

    def start(self) -> None:
        """Begin; a second start does nothing."""
        if self._task is None:
            self._task = spawn(self._keep_on(), self._name)

    async def _keep_on(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._run()
            except Exception:  # whatever it is, the work goes on
                said = {"action": "background_error"}
                logger.exception("action=background_error task=%s", self._name, extra=said)
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def stop(self) -> bool:
        """Cancel it and wait for its end; say whether it was running."""
        if self._task is None:
            return False
        task, self._task = self._task, None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True
