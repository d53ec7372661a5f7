"""One long-lived event loop in a background thread of each process, for callers that have none.

It starts at its first use, and again in a forked child: a thread does not survive `fork`, a copied lock might
be held for ever.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
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


class LoopThread:
    """The event loop of this process, in a daemon thread of its own."""

    def __init__(self, name: str = "stoker-loop") -> None:
        self._name = name
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Know of no loop: it was stopped, or is one of the process that this one was forked from."""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._calls: set[Call[Any]] = set()
        self._last: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether the loop runs in this process."""
        return self._loop is not None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; start it if there is none yet in this process."""
        with self._lock:
            if self._loop is None:
                # The loop listens to itself, as long as it lives, in the context that it is made in: in none.
                self._loop = contextvars.Context().run(asyncio.new_event_loop)
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name=self._name, daemon=True
                )
                self._thread.start()
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            if asyncio.all_tasks(loop):  # they came too late to be cancelled
                loop.run_until_complete(_cancel_all(JOIN_SECONDS))
            loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and return what it returns; raise what it raises.

        Whatever interrupts the wait (a time limit of Celery's, a `TimeoutError` after `timeout` seconds)
        cancels the coroutine.
        """
        return self._wait(lambda: coroutine, timeout, coroutine.close)

    def call(self, make: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """As `run`, of a coroutine that is made on the loop, in the caller's context and in no task.

        Raises:
            UsageError: It is the loop's own thread that calls: it would wait for itself.
            concurrent.futures.CancelledError: The loop was stopped meanwhile.
        """
        return self._wait(make, timeout)

    def _wait(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        timeout: float | None,
        unused: Callable[[], object] = lambda: None,
    ) -> T:
        loop, calls = self.loop(), self._calls
        if threading.current_thread() is self._thread:
            unused()
            raise UsageError("this is the event loop's own thread: await the cache's async methods here")
        try:
            call = Call(loop, make, unused)
        except RuntimeError:
            unused()
            if loop.is_closed():
                raise concurrent.futures.CancelledError from None
            raise
        calls.add(call)
        if loop.is_closed():  # nobody looks at the calls any more
            call.abandon()
        try:
            return call.wait(timeout)
        finally:
            calls.discard(call)

    def end_with(self, last: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Have the loop do a last thing, and end; say whether it runs. Nobody is waited for."""
        loop = self._loop
        if loop is None:
            return False

        async def end() -> None:
            try:
                await last()
            finally:
                loop.stop()

        def begin() -> None:
            self._last = loop.create_task(end())

        try:
            loop.call_soon_threadsafe(begin, context=contextvars.Context())
        except RuntimeError:  # it has ended
            return False
        return True

    def stop(self, timeout: float = JOIN_SECONDS) -> None:
        """Cancel what still runs, stop the loop and wait for its thread, `timeout` seconds for each."""
        loop, thread, calls = self._loop, self._thread, self._calls
        if loop is None or thread is None:
            return
        try:
            self.run(_cancel_all(timeout), timeout + 1)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout)
            self.forget()
            for call in tuple(calls):  # they came too late to be cancelled
                call.abandon()


_all: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _forget_all() -> None:
    for loop in tuple(_all):
        loop.forget()


os.register_at_fork(after_in_child=_forget_all)


async def _cancel_all(timeout: float) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=timeout)
    await asyncio.get_running_loop().shutdown_asyncgens()
