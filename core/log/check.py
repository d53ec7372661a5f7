"""A check: one look at what was appended to the invalidation log since the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stoker.core.clock import boottime


class Check:
    """One look at the log, shared by the reads of one loop turn.

    Args:
        since: The last known record's id; the look begins at that very record.
        count: Records it asks for at most.
        write: The number of the link's write that carries it; a read that begins later needs another one.
        view: The log's `view` when it was queued; if that has changed before the reply comes, it has failed.

    Attributes:
        at: When it was queued, in seconds of `clock.boottime`.
        done: The reply has come, or never will.
        complete: All records that stood in the log when the server ran the check have been read.
        failed: There was no reply, or the log is, or was, to be looked at anew.
    """

    __slots__ = ("_callbacks", "at", "complete", "count", "done", "failed", "since", "view", "write")

    def __init__(self, since: bytes, count: int, write: int, view: int) -> None:
        self.since = since
        self.count = count
        self.write = write
        self.view = view
        self.at = boottime()
        self.done = self.complete = self.failed = False
        self._callbacks: list[Callable[[], None]] = []

    async def wait(self) -> None:
        """Wait until it is done; where the log is on a connection of its own, that is not the entries'."""
        if not self.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.then(lambda: None if waiter.done() else waiter.set_result(None))
            await waiter

    def then(self, callback: Callable[[], None]) -> None:
        """Call back once it is done, inside the read callback."""
        if self.done:
            callback()
        else:
            self._callbacks.append(callback)

    def settle(self) -> None:
        """The reply was taken in: tell whoever waits."""
        self.done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
