"""Marks: *get, miss, compute, set* is a load by hand, and its set is stamped with where its miss stood.

A miss leaves a mark with the task that called the read; the set of the same key takes it. Without one, a
value that was computed before an invalidation could be stored as if it had been computed after it.

Reads and sets ask for the marks when they are *called*, not when they run: `gather`, `wait_for` and
`create_task` run them in tasks of their own, and nothing tells there who waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from contextvars import Token as ContextToken
from typing import NamedTuple, TypeAlias
from weakref import ref

_Name = tuple[int, str, str]

#: Marks one task holds. When there are more, the oldest is forgotten, and for a while every set of the task
#: that has no mark of its own is stamped as that one was.
MAX_MARKS = 10_000

#: A task's sets look at the misses of so many tasks above it that have used the cache: of the one that
#: started it, of that one's starter, and so on. A chain of tasks that start each other has no end.
MAX_ANCESTORS = 8

#: Marks that there was no room for are taken together where they are of so many seconds.
SPAN_SECONDS = 60.0

#: A mark counts for so long. What was computed for longer is set as if the caller vouched for it.
FORGOTTEN_SECONDS = 600.0


class Token(NamedTuple):
    """Where the log stood before a value was computed; `CacheManager.fill` returns it."""

    cache_type: str
    key: str
    epoch: int
    born: int


class _Mark:
    """Where a miss stood."""

    __slots__ = ("at", "born", "epoch", "used")

    def __init__(self, epoch: int, born: int) -> None:
        self.epoch = epoch
        self.born = born
        self.at = time.monotonic()
        self.used = False
        """A set has been stamped with it: the next miss begins another load."""

    def counts(self) -> bool:
        """Whether it is young enough."""
        return time.monotonic() - self.at <= FORGOTTEN_SECONDS


class _Span(_Mark):
    """Marks of one span of time, for which there was no room: as old as the first, counting as the last."""

    __slots__ = ("began",)

    def __init__(self, oldest: _Mark) -> None:
        super().__init__(oldest.epoch, oldest.born)
        self.began = self.at = oldest.at


class _Kept:
    """So many marks, the oldest first."""

    __slots__ = ("_forgotten", "marks")

    def __init__(self) -> None:
        self.marks: dict[_Name, _Mark] = {}
        self._forgotten: dict[int, deque[_Span]] = {}
        """By owner, the marks that there was no room for and that would still count, the oldest first."""

    def note(self, name: _Name, mark: _Mark) -> None:
        """Keep a mark, unless an earlier one has not been used yet."""
        have = self.marks.get(name)
        if have is not None:
            if have.counts() and not have.used:
                return
            del self.marks[name]  # the new one is the youngest
        elif len(self.marks) >= MAX_MARKS:
            oldest = next(iter(self.marks))
            self._forget(oldest[0], self.marks.pop(oldest))
        self.marks[name] = mark

    def _forget(self, owner: int, mark: _Mark) -> None:
        spans = self._forgotten.setdefault(owner, deque())
        if not spans or mark.at - spans[-1].began > SPAN_SECONDS:
            spans.append(_Span(mark))
        spans[-1].at = mark.at
        self._drop_old(spans)

    @staticmethod
    def _drop_old(spans: deque[_Span]) -> None:
        while spans and not spans[0].counts():
            spans.popleft()

    def find(self, name: _Name, *, take: bool) -> _Mark | None:
        """Return the mark of a key that counts; it may be taken away."""
        mark = self.marks.pop(name, None) if take else self.marks.get(name)
        if mark is not None and mark.counts():
            return mark
        if (spans := self._forgotten.get(name[0])) is None:
            return None
        self._drop_old(spans)
        return spans[0] if spans else None


class _Misses:
    """What one task missed. It leads to no other task: who holds it keeps nothing else alive."""

    __slots__ = ("noted", "own")

    def __init__(self) -> None:
        self.own: _Kept | None = None
        """What the task missed itself."""
        self.noted: _Kept | None = None
        """What tasks missed that it has started."""


class Marks:
    """The marks of one task.

    A miss is noted with the task that started it, too: a helper may have read for it. And a set in a task
    without a mark looks at the misses of the tasks above it, and leaves them there: an older stamp is
    always the safe side. But tasks that merely share a parent don't see each other's marks: requests of a
    web server do.

    Hits take no marks away: that somebody else has stored the key since says nothing of what is computed
    here.
    """

    __slots__ = ("ancestors", "misses", "whose")

    def __init__(self, whose: Callable[[], object], parent: Marks | None) -> None:
        self.whose = whose
        """The task, or the thread in which no event loop runs. Weak: the task's own context leads here."""
        self.misses = _Misses()
        self.ancestors: tuple[_Misses, ...] = ()
        """The misses of the tasks above, the nearest first."""
        if parent is not None:
            self.ancestors = (parent.misses, *parent.ancestors[: MAX_ANCESTORS - 1])

    def leave(self, owner: int, cache_type: str, key: str, epoch: int, born: int) -> None:
        """Remember a miss; the first of a key counts until its set."""
        name, mark, misses = (owner, cache_type, key), _Mark(epoch, born), self.misses
        if misses.own is None:
            misses.own = _Kept()
        misses.own.note(name, mark)
        if self.ancestors:
            parent = self.ancestors[0]
            if parent.noted is None:
                parent.noted = _Kept()
            parent.noted.note(name, mark)

    def take(self, owner: int, cache_type: str, key: str) -> tuple[int, int] | None:
        """Return (epoch, born) of the miss of a key; of this task's own misses once."""
        misses = self.misses
        if misses.own is None and misses.noted is None and not self.ancestors:
            return None
        name = (owner, cache_type, key)
        own = None if misses.own is None else misses.own.find(name, take=True)
        noted = None if misses.noted is None else misses.noted.find(name, take=True)
        mark = own or noted
        if own is not None and noted is not None and noted.at < own.at:
            mark = noted
        if mark is None:
            mark = self._of_ancestors(name)
        if mark is None:
            return None
        mark.used = True
        return mark.epoch, mark.born

    def _of_ancestors(self, name: _Name) -> _Mark | None:
        for misses in self.ancestors:
            if misses.own is not None and (mark := misses.own.find(name, take=False)) is not None:
                return mark
        return None


_marks: ContextVar[Marks | None] = ContextVar("stoker_marks", default=None)
_handed_over: ContextVar[Marks | None] = ContextVar("stoker_marks_handed_over", default=None)

HandedOver: TypeAlias = ContextToken[Marks | None]
"""What marks that were handed over are taken back with."""


def marks_here() -> Marks:
    """The marks of the task that calls this; where no event loop runs, of the thread.

    Contexts are copied into tasks and threads: whose marks stand in one must be looked at.
    """
    try:
        here: object = asyncio.current_task()
    except RuntimeError:
        here = threading.current_thread()
    marks = _marks.get()
    if here is None:  # a callback of the loop: a call of another thread, or of nobody
        return _handed_over.get() or Marks(_nobody, marks)
    if marks is not None and marks.whose() is here:
        return marks
    marks = Marks(ref(here), marks)
    _marks.set(marks)
    return marks


def hand_over_marks() -> HandedOver:
    """Have what an event loop does for this thread, in its context and in no task, use its marks."""
    return _handed_over.set(marks_here())


def take_marks_back(token: HandedOver) -> None:
    """The loop has done it."""
    _handed_over.reset(token)


def _nobody() -> None:
    return None
