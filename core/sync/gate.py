"""Between calls and closing: whoever closes lets the calls that are under way end, and the others wait."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


class Visit:
    """A call that a gate knows of, or a closing.

    Args:
        gate: The gate.
    """

    __slots__ = ("gate",)

    def __init__(self, gate: Gate) -> None:
        self.gate = gate


#: The calls that what runs here is part of, the innermost one last; those that have been left don't count.
_inside: ContextVar[tuple[Visit, ...]] = ContextVar("stoker_inside", default=())


class Gate:
    """Knows of calls from any thread; while it is shut none is let in, but for those within others."""

    def __init__(self) -> None:
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Know of no calls: those are of a process that this one was forked from."""
        # A time limit may be raised at any line of Python. Taken by `with`, the lock is let go all the same;
        # `Condition.__enter__` is Python, and could be left between the two.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._calls: set[Visit] = set()
        self._closing: Visit | None = None
        self._is_patient = True

    @property
    def is_shut(self) -> bool:
        """Whether calls that come now wait."""
        return self._closing is not None

    @property
    def is_inside(self) -> bool:
        """Whether what runs here is part of a call: waiting for all calls, it would wait for itself."""
        return any(self.has(call) for call in _inside.get())

    def has(self, call: Visit) -> bool:
        """Whether a call has begun here, and not ended."""
        return call in self._calls

    # -- what is done between two steps -----------------------------------------------------------

    def inside(self, work: Callable[[], T]) -> T:
        """Do something as a call."""

        def enter_and_work(call: Visit) -> T:
            self.enter(call)
            return work()

        return self._leaving(enter_and_work)

    def alone(self, timeout: float, work: Callable[[float], T]) -> T:
        """Do something while no call begins, given what those under way have left of `timeout` seconds.

        No call may do so, see `is_inside`.
        """
        end = time.monotonic() + timeout

        def shut_and_work(closing: Visit) -> T:
            self.shut(closing, timeout)
            return work(max(end - time.monotonic(), 0.0))

        return self._leaving(shut_and_work)

    def _leaving(self, work: Callable[[Visit], T]) -> T:
        visit = Visit(self)
        try:
            return work(visit)
        finally:
            try:
                self.leave(visit)
            except BaseException:  # a time limit, before it had left
                self.leave(visit)
                raise

    # -- the steps --------------------------------------------------------------------------------

    def enter(self, call: Visit) -> None:
        """Begin a call, and have it end with `leave`, even if this is interrupted.

        Whoever is inside already need not wait, as long as whoever closes waits for them.
        """
        with self._lock:
            while self._closing is not None and not (self._is_patient and self.is_inside):
                self._changed.wait()
            self.admit(call)

    def admit(self, call: Visit) -> None:
        """Begin a call without waiting, though the gate is shut."""
        with self._lock:
            self._calls.add(call)
        _inside.set((*(other for other in _inside.get() if other.gate.has(other)), call))

    def shut(self, closing: Visit, timeout: float) -> None:
        """Let nobody in until `closing` leaves, and wait `timeout` seconds for those inside.

        Whoever shut it before is waited for.
        """
        with self._lock:
            while self._closing is not None:
                self._changed.wait()
            self._is_patient = True
            self._closing = closing
            # Of those who are given up nothing more is let in: what is being closed is of no use to them.
            self._is_patient = self._changed.wait_for(lambda: not self._calls, timeout)

    def leave(self, visit: Visit) -> None:
        """End a call, or open the gate where it was `visit` that shut it; once more does nothing."""
        with self._lock:
            # First: where this is interrupted, `leave` once more has still somebody to tell.
            if self._closing is not None:
                self._changed.notify_all()
            self._calls.discard(visit)
            if self._closing is visit:
                self._closing = None
        _inside.set(tuple(other for other in _inside.get() if other is not visit))


@contextmanager
def call_of_its_own() -> Generator[None]:
    """A call for what goes on behind one that may have ended: whoever closes waits for it, too.

    It waits for nobody.
    """
    around = _inside.get()
    if not around:
        yield
        return
    call = Visit(around[-1].gate)
    try:
        call.gate.admit(call)
        yield
    finally:
        call.gate.leave(call)


_all: weakref.WeakSet[Gate] = weakref.WeakSet()


def _forget_all() -> None:
    for gate in tuple(_all):
        gate.forget()


os.register_at_fork(after_in_child=_forget_all)
