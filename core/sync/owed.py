"""What a cache must do, whatever interrupts the thread that waits for it: the source has changed already.

A time limit or Ctrl-C raises in the main thread, wherever that is: before the event loop has heard of the
call, or while it waits for the loop. Another thread, which nothing interrupts, then does it; twice
does no harm. Where another thread closes the cache meanwhile, it is done once that is open again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from stoker.core.errors import StokerError
from stoker.core.loading.flights import LoadCancelledError
from stoker.core.manager import CacheManager
from stoker.core.view import Cache

logger = logging.getLogger(__name__)

R = TypeVar("R")
T = TypeVar("T")
TargetT = TypeVar("TargetT", bound=CacheManager | Cache)


class _GivenUpError(Exception):
    """The cache was closed, and with it goes what it had kept, as it could not tell the server."""


class Owed(Generic[TargetT, T]):
    """Something that is owed to a cache: to be made before the source is written to.

    Args:
        perform: Has the cache do something, and waits for it.
        work: What it is to do.
    """

    def __init__(
        self,
        perform: Callable[[Callable[[TargetT], Coroutine[Any, Any, T]]], T],
        work: Callable[[TargetT], Coroutine[Any, Any, T]],
    ) -> None:
        self._perform = perform
        self._work = work
        self._settled = False

    def pay(self) -> T:
        """Have it done, and wait for it; what interrupts that is raised, and another thread does it.

        Raises:
            StokerError: It is refused.
            Exception: Whatever the cache answers with.
        """
        try:
            return self._pay()
        except BaseException:  # what interrupts the thread that waits, too
            self.hand_over()
            raise

    def after(self, write: Callable[[], R]) -> R:
        """Call what changes the source, and pay, whatever becomes of that; return what it returns."""
        try:
            return write()
        finally:
            try:
                self.pay()
            except BaseException:  # a time limit, before the first step of paying
                self.hand_over()
                raise

    def _pay(self) -> T:
        while True:
            try:
                return self._perform(self._do)
            except (LoadCancelledError, _GivenUpError):  # another thread has closed the cache: it opens again
                continue
            except StokerError:  # it is refused, and would be again
                self._settled = True
                raise

    async def _do(self, target: TargetT) -> T:
        manager = target.manager if isinstance(target, Cache) else target
        kept_before = manager.log.kept.total
        try:
            result = await self._work(target)
        except Exception:  # the cache has answered, and would so again
            self._settled = True
            raise
        if manager.log.kept.total > kept_before and not manager.serves:
            raise _GivenUpError
        self._settled = True
        return result

    def hand_over(self) -> None:
        """Have another thread do it, if it was not done. The process does not end before it has."""
        if self._settled:
            return
        try:
            threading.Thread(target=self._pay_behind, name="stoker-owed").start()
        except RuntimeError as error:  # no thread can be had; what has interrupted this one is raised
            _tell_lost(error)
        self._settled = True

    def _pay_behind(self) -> None:
        try:
            self._pay()
        except Exception as error:  # noqa: BLE001  there is nobody to raise it to
            _tell_lost(error)


def _tell_lost(error: Exception) -> None:
    said = {"action": "invalidation_lost"}
    logger.error("action=invalidation_lost error=%r", error, extra=said)


def surely(
    perform: Callable[[Callable[[TargetT], Coroutine[Any, Any, T]]], T],
    work: Callable[[TargetT], Coroutine[Any, Any, T]],
) -> T:
    """Have a cache do something, and wait for it; it is done even if the wait is interrupted."""
    return Owed(perform, work).pay()
