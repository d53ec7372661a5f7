"""What a cache must do, whatever interrupts the thread that waits for it: the source has changed already.

A time limit or Ctrl-C raises in the main thread, wherever that is: before the event loop has heard of the
call, or while it waits for the loop. Another thread, which nothing interrupts, then does it; twice
does no harm.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from stoker.core.errors import StokerError

logger = logging.getLogger(__name__)

T = TypeVar("T")
TargetT = TypeVar("TargetT")


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
        """Have it done, and wait for it. Whatever this raises, `hand_over` is to be called then."""
        try:
            return self._perform(self._do)
        except StokerError:  # it is refused, and would be again
            self._settled = True
            raise

    async def _do(self, target: TargetT) -> T:
        try:
            result = await self._work(target)
        except Exception:  # the cache has answered, and would so again
            self._settled = True
            raise
        self._settled = True
        return result

    def hand_over(self) -> None:
        """Have another thread do it, if it was not done. The process does not end before it has."""
        if not self._settled:
            threading.Thread(target=self._pay_behind, name="stoker-owed").start()

    def _pay_behind(self) -> None:
        try:
            self.pay()
        except Exception as error:  # noqa: BLE001  there is nobody to raise it to
            said = {"action": "invalidation_lost"}
            logger.error("action=invalidation_lost error=%r", error, extra=said)  # noqa: TRY400  it says all


def surely(
    perform: Callable[[Callable[[TargetT], Coroutine[Any, Any, T]]], T],
    work: Callable[[TargetT], Coroutine[Any, Any, T]],
) -> T:
    """Have a cache do something, and wait for it; it is done even if the wait is interrupted."""
    owed = Owed(perform, work)
    try:
        return owed.pay()
    except BaseException:  # what interrupts the thread that waits, too
        owed.hand_over()
        raise
