"""Between calls and closing: whoever closes lets the calls that are under way end, and the others wait."""

from __future__ import annotations

import os
import threading
import time
import weakref
from contextvars import ContextVar, Token

#: The gates of the calls that what runs here is part of, a gate as often as there are calls.
_inside: ContextVar[tuple[Gate, ...]] = ContextVar("stoker_inside", default=())


class Gate:
    """Counts calls from any thread; while it is shut none is let in, but for those within others."""

    def __init__(self) -> None:
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """Know of no calls: those are of a process that this one was forked from."""
        self._changed = threading.Condition()
        self._calls = 0
        self._shut = False

    @property
    def is_shut(self) -> bool:
        """Whether calls that come now wait."""
        return self._shut

    def enter(self) -> Token[tuple[Gate, ...]]:
        """Begin a call; what is returned is for `leave`. Whoever is inside already need not wait."""
        inside = _inside.get()
        with self._changed:
            while self._shut and self not in inside:
                self._changed.wait()
            self._calls += 1
        return _inside.set((*inside, self))

    def leave(self, token: Token[tuple[Gate, ...]]) -> None:
        """End a call."""
        _inside.reset(token)
        with self._changed:
            self._calls -= 1
            if self._shut:
                self._changed.notify_all()

    def shut(self, timeout: float) -> float:
        """Let nobody in any more, and wait for those inside; return what is left of `timeout` seconds.

        Whoever shut it before is waited for.
        """
        end = time.monotonic() + timeout
        with self._changed:
            while self._shut:
                self._changed.wait()
            self._shut = True
            own = _inside.get().count(self)
            self._changed.wait_for(lambda: self._calls <= own, timeout)
        return max(end - time.monotonic(), 0.0)

    def open(self) -> None:
        """Let everybody in."""
        with self._changed:
            self._shut = False
            self._changed.notify_all()


_all: weakref.WeakSet[Gate] = weakref.WeakSet()


def _forget_all() -> None:
    for gate in tuple(_all):
        gate.forget()


os.register_at_fork(after_in_child=_forget_all)
