"""Marks: *get, miss, compute, set* is a load by hand, and its set is stamped with where its miss stood.

A miss leaves a mark with the task that called the read; the set of the same key takes it. Without one, a
value that was computed before an invalidation could be stored as if it had been computed after it.

Reads and sets ask for the marks when they are *called*, not when they run: `gather`, `wait_for` and
`create_task` run them in tasks of their own, and nothing tells there who waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple
from weakref import ref

_Name = tuple[int, str, str]

#: Marks one task holds. When there are more, the oldest is forgotten, and for a while every set of the task
#: that has no mark of its own is stamped as that one was.
MAX_MARKS = 10_000

#: A task's sets look at the misses of so many tasks above it that have used the cache: of the one that
#: started it, of that one's starter, and so on. A chain of tasks that start each other has no end.
MAX_ANCESTORS = 8

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


class _Kept:
    """So many marks, the oldest first."""

    __slots__ = ("forgotten", "marks")

    def __init__(self) -> None:
        self.marks: dict[_Name, _Mark] = {}
        self.forgotten: dict[int, _Mark] = {}
        """By owner, the oldest mark that was forgotten lately."""

    def note(self, name: _Name, mark: _Mark) -> None:
        """Keep a mark, unless an earlier one has not been used yet."""
        have = self.marks.get(name)
        if have is not None:
            if have.counts() and not have.used:
                return
            del self.marks[name]  # the new one is the youngest
        elif len(self.marks) >= MAX_MARKS:
            oldest = next(iter(self.marks))
            forgotten, evicted = self.forgotten.get(oldest[0]), self.marks.pop(oldest)
            if forgotten is None or not forgotten.counts():
                forgotten = self.forgotten[oldest[0]] = _Mark(evicted.epoch, evicted.born)
            forgotten.at = mark.at  # for a while from the last time that one was forgotten
        self.marks[name] = mark

    def find(self, name: _Name, *, take: bool) -> _Mark | None:
        """Return the mark of a key that counts; it may be taken away."""
        mark = self.marks.pop(name, None) if take else self.marks.get(name)
        if mark is None or not mark.counts():
            mark = self.forgotten.get(name[0])
        return mark if mark is not None and mark.counts() else None


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

    __slots__ = ("ancestors", "misses", "task")

    def __init__(self, task: Callable[[], object], parent: Marks | None) -> None:
        self.task = task
        """Weak: the task's own context leads here."""
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


def marks_here() -> Marks:
    """The marks of the task that calls this."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None  # no loop runs: the coroutine will be handed to one
    marks = _marks.get()
    if marks is not None and marks.task() is task:
        return marks
    marks = Marks(_no_task if task is None else ref(task), marks)
    _marks.set(marks)
    return marks


def _no_task() -> None:
    return None
