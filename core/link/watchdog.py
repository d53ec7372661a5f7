"""The watchdog of a connection: no timer per command, but a few looks at whether any reply comes at all."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

#: So many looks of the watchdog in a row without a sign of life are a stall; a late look (a busy loop) is one
#: look only.
WATCHDOG_LOOKS = 6

#: Looks that would fit into `timeout`: silence may begin right after a look, and callers must have been told,
#: and woken, within it.
LOOKS_WITHIN_TIMEOUT = 7.5

#: Seconds a stalled connection may take to answer before it is given up.
STALL_PATIENCE_SECONDS = 2.0

Activity = tuple[int, int]
"""What changes while the server takes or gives anything: data received, data still to be sent."""


class Watchdog:
    """Looks at a connection while replies are owed.

    Args:
        timeout: Seconds without any reply within which `stalled` is called.
        activity: What has gone over the connection; None when no reply is owed.
        stalled: Called when nothing has moved for so long; then again only after `answered`.
        answered: Called when replies have come, or none is owed.
        gone: Called with the reason when a stalled connection is to be given up.
    """

    def __init__(
        self,
        timeout: float,
        *,
        activity: Callable[[], Activity | None],
        stalled: Callable[[], None],
        answered: Callable[[], None],
        gone: Callable[[str], None],
    ) -> None:
        self._pause = timeout / LOOKS_WITHIN_TIMEOUT
        self._activity = activity
        self._stalled = stalled
        self._answered = answered
        self._gone = gone
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look, where it is not looking already."""
        if self._timer is None:
            self._look_again(self._activity(), 0)

    def stop(self) -> None:
        """Look no more until the next start."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self, activity: Activity | None, looks: int) -> None:
        # Not in the context of whoever sent first: see `background.spawn`.
        loop, context = asyncio.get_running_loop(), contextvars.Context()
        self._timer = loop.call_later(self._pause, self._look, activity, looks, context=context)

    def _look(self, activity: Activity | None, looks: int) -> None:
        self._timer = None
        now = self._activity()
        if now is None:
            self._answered()
            return
        if activity is None or now != activity:
            if activity is None or now[0] != activity[0]:
                self._answered()
            self._look_again(now, 0)
            return
        looks += 1
        if looks == WATCHDOG_LOOKS:
            self._stalled()
        if looks >= WATCHDOG_LOOKS + STALL_PATIENCE_SECONDS / self._pause:
            self._gone(f"no reply for {STALL_PATIENCE_SECONDS:g} s")
            return
        self._look_again(activity, looks)
