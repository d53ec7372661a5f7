"""Where threads without an event loop find the cache of their process: connected at its first use."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from stoker.core.errors import UsageError
from stoker.core.loading.flights import LoadCancelledError
from stoker.core.manager import CacheManager
from stoker.core.parts import connect_or_close
from stoker.core.sync.gate import Gate
from stoker.core.sync.loop import LoopThread

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds that loads under way are given when nobody has the cache any more, or the process ends.
EXIT_SECONDS = 1.0

#: What closing the cache may take beyond the time that loads under way are given, in seconds: one for loads
#: that go on although they are cancelled, one for invalidations under way, one for the rest.
CLOSE_SECONDS = 3.0


class Perform(Protocol):
    """Has a cache do something, on its event loop, and waits for it in the calling thread."""

    def __call__(self, work: Callable[[CacheManager], Coroutine[Any, Any, T]]) -> T:
        """Return what `work` returns for the connected cache."""
        ...


class _ClosedError(Exception):
    """The cache has been closed meanwhile."""


class Home:
    """The event loop of this process, and the cache that lives on it; a forked child gets its own of both.

    Args:
        make: Makes the cache.
    """

    def __init__(self, make: Callable[[], CacheManager]) -> None:
        self.loop = LoopThread()
        self.gate = Gate()
        self._closings = 0
        self.reached = False
        """Whether the server answered when the cache was connected."""
        self._make = make
        self._manager: CacheManager | None = None
        self._owner: int | None = None
        self._place: asyncio.AbstractEventLoop | None = None
        self._connecting = self._closing = asyncio.Lock()
        _all.add(self)

    async def manager(self) -> CacheManager:
        """Return the connected cache. Runs on the loop.

        Raises:
            ConfigError: The server may evict the invalidation log.
        """
        loop = asyncio.get_running_loop()
        if self._place is not loop:  # first use, or a forked child's own loop
            self._place, self._manager = loop, None
            self._connecting, self._closing = asyncio.Lock(), asyncio.Lock()
        if (serving := self._serving) is not None:
            return serving
        async with self._connecting:
            if (serving := self._serving) is not None:
                return serving
            manager = self._make()
            self._owner = manager.share_marks(self._owner)
            self.reached = await connect_or_close(manager)
            self._manager = manager
            return manager

    @property
    def _serving(self) -> CacheManager | None:
        """The cache, where it is connected; while it is closed, as long as loads may use it."""
        manager = self._manager
        return manager if manager is not None and manager.serves else None

    def perform(
        self, work: Callable[[CacheManager], Coroutine[Any, Any, T]], timeout: float | None = None
    ) -> T:
        """Have the cache do something, and wait for it.

        Args:
            work: Called on the loop, in the context of the thread that waits.
            timeout: Seconds it may take; without limit where not given.

        Raises:
            UsageError: It is the loop's own thread that calls, or the interpreter ends: no thread runs then.
            TimeoutError: It took too long.
            LoadCancelledError: The cache was closed, and that didn't wait for so long.
            Exception: Whatever `work` raises.
        """
        _refuse_the_end()
        closings, begun = self._closings, False

        def begin(manager: CacheManager) -> Coroutine[Any, Any, T]:
            nonlocal begun
            begun = True
            return work(manager)

        while True:
            try:
                return self.gate.inside(lambda: self._perform(begin, timeout))
            except _ClosedError:  # by another thread, a moment ago
                continue
            except concurrent.futures.CancelledError:
                if self._closings == closings:
                    raise
                if begun:  # else it is as if it came now
                    raise LoadCancelledError("the cache was closed before this was done; try again") from None

    def _perform(self, work: Callable[[CacheManager], Coroutine[Any, Any, T]], timeout: float | None) -> T:
        if self._serving is None or not self.loop.running:
            if self.gate.is_shut:  # the loop ends: it opens on another one
                raise _ClosedError
            self.loop.run(self.manager(), timeout)
        return self.loop.call(lambda: work(self._connected()), timeout)

    def connect(self) -> bool:
        """Connect the cache if that has not been done; say whether the server answered.

        Raises:
            ConfigError: The server may evict the invalidation log.
        """

        async def connected(_: CacheManager) -> bool:
            return self.reached

        return self.perform(connected)

    def check_usable(self) -> None:
        """Refuse what `perform` would; connect if that has not been done.

        Raises:
            UsageError: The interpreter ends.
            ConfigError: The server may evict the invalidation log.
        """
        _refuse_the_end()
        while self._serving is None or not self.loop.running:
            with contextlib.suppress(LoadCancelledError):  # another thread closes it: it opens again
                self.connect()

    def _connected(self) -> CacheManager:
        serving = self._serving
        if serving is None or self._place is not asyncio.get_running_loop():
            raise _ClosedError
        return serving

    def close(self, timeout: float) -> None:
        """Let calls and loads under way end within `timeout` seconds, disconnect, and stop the loop.

        Calls that come meanwhile wait, and open it again.

        Raises:
            UsageError: It is closed within a call of its own, for whose end it would wait.
        """
        if sys.is_finalizing():
            return  # it was closed before, and what has opened it since has ended
        if self.gate.is_inside:
            raise UsageError(
                "a loader of this cache can't close it: it would wait for itself; close it after the call"
            )
        self.gate.alone(timeout, self._end)

    def let_go(self) -> None:
        """Close, as nobody can call any more; don't wait: it may be the loop's own thread that calls."""

        async def last() -> None:
            try:
                await self._close(EXIT_SECONDS)
            finally:
                _all.discard(self)

        if not self.loop.end_with(last):
            _all.discard(self)

    def _end(self, timeout: float) -> None:
        self._closings += 1
        try:
            self.loop.finish(lambda: self._close(timeout), timeout + CLOSE_SECONDS)
        except TimeoutError as error:  # a server that is gone must not keep the process from ending
            _report(error)

    async def _close(self, timeout: float) -> None:
        """Close the cache; what fails is told in the log, as is where nobody waits."""
        if self._place is not asyncio.get_running_loop():
            return
        async with self._closing:  # whoever closes it already (`let_go`, as the process ends) does it
            try:
                if self._manager is not None:
                    await self._manager.close(timeout)
            except Exception as error:  # noqa: BLE001  whatever it is, the loop ends
                _report(error)
            finally:
                self._manager = None


def _refuse_the_end() -> None:
    if sys.is_finalizing():
        raise UsageError(
            "the interpreter ends, and its threads have ended: use the cache before that, not in a `__del__` "
            "of what lives as long as the process (atexit is in time)"
        )


def _report(error: Exception) -> None:
    logger.warning("action=cache_close_failed error=%r", error, extra={"action": "cache_close_failed"})


_all: set[Home] = set()


@atexit.register
def _close_all() -> None:
    """At the end of the process: hand over what was recorded, and disconnect."""
    for home in tuple(_all):
        try:
            home.close(EXIT_SECONDS)
        except Exception as error:  # noqa: BLE001  the others are closed all the same
            _report(error)
