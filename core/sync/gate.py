"""Between calls and closing: whoever closes lets the calls that are under way end, and the others wait."""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextvars import ContextVar

#: The calls that what runs here is part of; those that have been left don't count.
_inside: ContextVar[tuple[object, ...]] = ContextVar("stoker_inside", default=())


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
        self._calls: set[object] = set()
        self._shut = False

    @property
    def is_shut(self) -> bool:
        """Whether calls that come now wait."""
        return self._shut

    @property
    def is_inside(self) -> bool:
        """Whether what runs here is part of a call: waiting for all calls, it would wait for itself."""
        return any(call in self._calls for call in _inside.get())

    def enter(self, call: object) -> None:
        """Begin a call, and have it end with `leave`, even if this is interrupted.

        Whoever is inside already need not wait.
        """
        with self._lock:
            while self._shut and not self.is_inside:
                self._changed.wait()
            self._calls.add(call)
        _inside.set((*_inside.get(), call))

    def leave(self, call: object) -> None:
        """End a call; once more does nothing."""
        with self._lock:
            self._calls.discard(call)
            if self._shut:
                self._changed.notify_all()
        _inside.set(tuple(other for other in _inside.get() if other is not call))

    def shut(self, timeout: float) -> float:
        """Let nobody in any more, and wait for those inside; return what is left of `timeout` seconds.

        None of those may call it, see `is_inside`. Whoever shut it before is waited for.
        """
        end = time.monotonic() + timeout
        with self._lock:
            while self._shut:
                self._changed.wait()
            self._shut = True
            try:
                self._changed.wait_for(lambda: not self._calls, timeout)
            except BaseException:  # a time limit, say: else it would stay shut for good
                self.open()
                raise
        return max(end - time.monotonic(), 0.0)

    def open(self) -> None:
        """Let everybody in."""
        with self._lock:
            self._shut = False
            self._changed.notify_all()


_all: weakref.WeakSet[Gate] = weakref.WeakSet()


def _forget_all() -> None:
    for gate in tuple(_all):
        gate.forget()


os.register_at_fork(after_in_child=_forget_all)
