"""One long-lived event loop in a background thread of each process, for callers that have none.

It starts at its first use, and again in a forked child: a thread does not survive `fork`, a copied lock might
be held for ever.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from stoker.core.errors import UsageError
from stoker.core.sync.handover import Call

T = TypeVar("T")

#: How long the loop's thread is waited for when it stops, in seconds.
JOIN_SECONDS = 1.0


class _Served:
    """An event loop that a daemon thread runs, and those who wait for it.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        # The loop listens to itself, as long as it lives, in the context that it is made in: in none.
        self.loop = contextvars.Context().run(asyncio.new_event_loop)
        self.thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self.calls: set[Call[Any]] = set()
        self.last: asyncio.Task[None] | None = None
        self._taken = threading.Lock()
        """Taken once: by the thread, or by who could not start it."""
        self._ending: asyncio.Task[None] | None = None
        """Cancels what is left when the loop was stopped; nobody cancels it."""

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: No thread can be had.
        """
        try:
            self.thread.start()
        except BaseException:  # a time limit, too: then the thread may run, or be about to
            if self._taken.acquire(blocking=False):
                self.loop.close()
            else:
                self.loop.call_soon_threadsafe(self.loop.stop)
            raise

    def _serve(self) -> None:
        if not self._taken.acquire(blocking=False):
            return
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            if asyncio.all_tasks(self.loop):  # they came too late to be cancelled
                self._ending = self.loop.create_task(self._cancel_all(JOIN_SECONDS))
                self.loop.run_until_complete(self._ending)
            self.loop.close()
            self._abandon()

    def wait(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        timeout: float | None,
        unused: Callable[[], object] = lambda: None,
    ) -> T:
        """Have the loop carry out what `make` returns, and wait for it in the calling thread."""
        if threading.current_thread() is self.thread:
            unused()
            raise UsageError("this is the event loop's own thread: await the cache's async methods here")
        try:
            call = Call(self.loop, make, unused)
        except RuntimeError:
            unused()
            if self.loop.is_closed():
                raise concurrent.futures.CancelledError from None
            raise
        self.calls.add(call)
        if self.loop.is_closed():  # nobody looks at the calls any more
            call.abandon()
        try:
            return call.wait(timeout)
        finally:
            self.calls.discard(call)

    def stop(self, timeout: float) -> None:
        """Cancel what still runs, stop the loop and wait for its thread, `timeout` seconds for each."""
        try:
            self.wait(lambda: self._cancel_all(timeout), timeout + 1)
        except concurrent.futures.CancelledError:  # it has ended by itself
            pass
        finally:
            with contextlib.suppress(RuntimeError):  # it is closed
                self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(timeout)
            self._abandon()

    async def _cancel_all(self, timeout: float) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task(), self._ending}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        await asyncio.get_running_loop().shutdown_asyncgens()

    def _abandon(self) -> None:
        for call in tuple(self.calls):  # they came too late to be cancelled
            call.abandon()


class LoopThread:
    """The event loop of this process, in a daemon thread of its own."""

    def __init__(self, name: str = "stoker-loop") -> None:
        self._name = name
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Know of no loop: it is one of the process that this one was forked from."""
        self._lock = threading.Lock()
        self._served: _Served | None = None

    @property
    def running(self) -> bool:
        """Whether the loop runs in this process."""
        return self._served is not None and not self._served.loop.is_closed()

    @property
    def thread(self) -> threading.Thread | None:
        """The thread of the loop, where it runs."""
        return None if self._served is None else self._served.thread

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; start it if there is none yet in this process.

        Raises:
            RuntimeError: No thread can be had.
        """
        return self._serving().loop

    def _serving(self) -> _Served:
        with self._lock:
            if self._served is None or self._served.loop.is_closed():
                served = _Served(self._name)
                served.start()
                self._served = served
            return self._served

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and return what it returns; raise what it raises.

        Whatever interrupts the wait (a time limit of Celery's, a `TimeoutError` after `timeout` seconds)
        cancels the coroutine.
        """
        try:
            served = self._serving()
        except BaseException:  # no thread can be had, or a time limit
            coroutine.close()
            raise
        return served.wait(lambda: coroutine, timeout, coroutine.close)

    def call(self, make: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """As `run`, of a coroutine that is made on the loop, in the caller's context and in no task.

        Raises:
            UsageError: It is the loop's own thread that calls: it would wait for itself.
            concurrent.futures.CancelledError: The loop was stopped meanwhile.
        """
        return self._serving().wait(make, timeout)

    def end_with(self, last: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Have the loop do a last thing, and end; say whether it runs. Nobody is waited for."""
        served = self._served
        if served is None:
            return False

        async def end() -> None:
            try:
                await last()
            finally:
                served.loop.stop()

        def begin() -> None:
            served.last = served.loop.create_task(end())

        try:
            served.loop.call_soon_threadsafe(begin, context=contextvars.Context())
        except RuntimeError:  # it has ended
            return False
        return True

    def finish(self, last: Callable[[], Coroutine[Any, Any, None]], timeout: float) -> None:
        """Have the loop do a last thing within `timeout` seconds, and stop it; nothing where it has ended.

        Raises:
            TimeoutError: It took longer.
            Exception: Whatever `last` raises.
        """
        served = self._served
        if served is None:
            return
        try:
            served.wait(last, timeout)
        except concurrent.futures.CancelledError:  # it has ended with another last thing
            pass
        finally:
            self.stop()

    def stop(self, timeout: float = JOIN_SECONDS) -> None:
        """Cancel what still runs, stop the loop and wait for its thread, `timeout` seconds for each."""
        served = self._served
        if served is None:
            return
        try:
            served.stop(timeout)
        finally:
            with self._lock:
                if self._served is served:
                    self._served = None


_all: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _forget_all() -> None:
    for loop in tuple(_all):
        loop.forget()


os.register_at_fork(after_in_child=_forget_all)
