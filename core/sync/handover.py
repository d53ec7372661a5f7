"""Between threads and an event loop: a thread waits for a coroutine, and does meanwhile what that asks of it.

So a plain function that loads a value runs in the thread that asked for the value, among its connections and
transactions, while the loop sees to everything around it. What nobody waits for has a thread of its own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import time
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar, cast

from stoker.core.loading.threads import ThreadGoneError, mark_plain, start_thread
from stoker.core.sync.gate import call_of_its_own

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

#: The call that the code of a task serves.
_call: contextvars.ContextVar[Call[Any] | None] = contextvars.ContextVar("stoker_call", default=None)

#: What Celery calls the exception that ends a task, a class of a package that need not be here.
TIME_LIMIT = "SoftTimeLimitExceeded"

#: Where the async form of a plain function is kept: with the function.
_ASYNC_FORM = "__stoker_async__"


class _Left(Exception):  # noqa: N818  it is no error
    """The thread that was to do something has gone."""


class Call(Generic[T]):
    """A coroutine on an event loop, and the thread that waits for it.

    Args:
        loop: The loop, which runs in another thread.
        make: Makes the coroutine; called on the loop in the caller's context, and in no task, as if the
            caller had made it.
        unused: Called if it came too late for `make` to be called.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], Coroutine[Any, Any, T]],
        unused: Callable[[], object] = lambda: None,
    ) -> None:
        self._loop = loop
        self._make = make
        self._unused = unused
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._task: asyncio.Task[T] | None = None
        self._error: BaseException | None = None
        self._left = False
        self._asked: set[asyncio.Future[Any]] = set()
        context = contextvars.copy_context()
        context.run(_call.set, self)
        loop.call_soon_threadsafe(self._begin, context=context)

    def _begin(self) -> None:
        if self._left:
            self._unused()
            return
        try:
            make, self._make = self._make, _made
            self._task = self._loop.create_task(make())
        except BaseException as error:  # noqa: BLE001  it is raised where it belongs
            self._error = error
            self._inbox.put(None)
        else:
            self._task.add_done_callback(lambda _: self._leave())

    def wait(self, timeout: float | None = None) -> T:
        """Return what the coroutine returns; raise what it raises.

        Raises:
            TimeoutError: It took longer than `timeout` seconds.
            concurrent.futures.CancelledError: It was cancelled.
        """
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while (work := self._next(end)) is not None:
                work()
        except BaseException:  # whatever it is, nothing may go on behind a caller who has left
            self._left = True
            _post(self._loop, self._cancel)
            raise
        if self._error is not None:
            raise self._error
        task = self._task
        if task is None or not task.done() or task.cancelled():
            raise concurrent.futures.CancelledError
        self._task = None  # timers that it has left hold its context for a while, and so this call
        return task.result()

    def _next(self, end: float | None) -> Callable[[], None] | None:
        if end is None:
            return self._inbox.get()
        try:
            return self._inbox.get(timeout=max(end - time.monotonic(), 0.0))
        except Empty:
            raise TimeoutError("the cache did not answer in time") from None

    def abandon(self) -> None:
        """The loop is gone, and will end nothing any more."""
        if self._task is None:
            self._unused()
        self._inbox.put(None)

    def _cancel(self) -> None:
        self._leave()
        if self._task is not None:
            self._task.cancel()

    def _leave(self) -> None:
        """Nothing more can be asked of the thread; what it has not begun, it won't."""
        self._left = True
        self._inbox.put(None)
        while self._asked:
            try:
                future = self._asked.pop()
            except KeyError:  # the thread was faster
                break
            if not future.done():
                future.set_exception(_Left())

    # -- what the loop asks of the thread ---------------------------------------------------------

    async def ask(self, work: Callable[[], R]) -> R:
        """Have the thread do something, in a copy of this task's context; return what it returns.

        Raises:
            _Left: It has gone without having begun.
            Exception: Whatever `work` raises.
        """
        if self._left:
            raise _Left
        done: asyncio.Future[R] = self._loop.create_future()
        self._asked.add(done)
        context = contextvars.copy_context()
        self._inbox.put(lambda: self._carry_out(context, work, done))
        return await done

    def _carry_out(
        self, context: contextvars.Context, work: Callable[[], R], done: asyncio.Future[R]
    ) -> None:
        """Runs in the thread: do what was asked for, unless nobody wants it any more."""
        try:
            self._asked.remove(done)
        except KeyError:  # it has been told that nobody would do it
            return
        if not done.done():
            _do(context, work, self._loop, done)


def _made() -> Any:
    raise AssertionError("a coroutine is made once")


def _do(
    context: contextvars.Context,
    work: Callable[[], R],
    loop: asyncio.AbstractEventLoop,
    done: asyncio.Future[R],
) -> None:
    """Do something, and tell the loop what came of it."""
    try:
        result = context.run(work)
    except BaseException as error:  # what ends the thread, too: somebody waits for it
        if not isinstance(error, Exception) or _is_time_limit(error):
            # The thread leaves: whoever waits for it must not wait for ever.
            _tell(loop, done, functools.partial(done.set_exception, ThreadGoneError()))
            raise
        if isinstance(error, StopIteration):  # no future takes it
            error = RuntimeError("the function raised StopIteration")
        _tell(loop, done, functools.partial(done.set_exception, error))
    else:
        _tell(loop, done, functools.partial(done.set_result, result))


def _is_time_limit(error: Exception) -> bool:
    """Whether it is Celery's soft time limit, raised in whatever the thread does: no loader has failed."""
    return any(kind.__name__ == TIME_LIMIT for kind in type(error).__mro__)


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any], settle: Callable[[], object]) -> None:
    _post(loop, lambda: done.done() or settle())


def _post(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return


def async_form(function: Callable[P, Any]) -> Callable[P, Coroutine[Any, Any, Any]]:
    """Return a function as an async one.

    A plain function runs in the thread that waits for what it returns, if one does, else in a thread of its
    own.
    """
    if inspect.iscoroutinefunction(function):
        return function
    if (known := getattr(function, _ASYNC_FORM, None)) is not None and known.__wrapped__ is function:
        return cast("Callable[P, Coroutine[Any, Any, Any]]", known)

    async def load(*args: P.args, **kwargs: P.kwargs) -> Any:
        found = await _elsewhere(functools.partial(function, *args, **kwargs))
        return await found if inspect.isawaitable(found) else found

    functools.update_wrapper(load, cast("Any", function), updated=())
    mark_plain(load)
    if isinstance(function, FunctionType):
        setattr(function, _ASYNC_FORM, load)
    return load


async def _elsewhere(work: Callable[[], R]) -> R:
    call = _call.get()
    if call is not None:
        try:
            return await call.ask(work)
        except _Left:
            pass
    loop = asyncio.get_running_loop()
    done: asyncio.Future[R] = loop.create_future()
    with call_of_its_own():  # as long as the loop waits for it: once it is cancelled, it is let go
        context = contextvars.copy_context()
        start_thread(lambda: _do(context, work, loop, done))
        return await done
