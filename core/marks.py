"""Marks: *get, miss, compute, set* is a load by hand, and its set is stamped with where its miss stood.

A miss leaves a mark for its task; the set of the same key takes it. Without one, a value that was computed
before an invalidation could be stored as if it had been computed after it.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import NamedTuple

_Name = tuple[int, str, str]
_Mark = tuple[int, int]
"""Epoch and position."""

#: Marks one task holds. When there are more, the oldest is forgotten, and for a while every set of the task
#: that has no mark of its own is stamped as that one was.
MAX_MARKS = 10_000
FORGOTTEN_SECONDS = 600.0


class Token(NamedTuple):
    """Where the log stood before a value was computed; `CacheManager.fill` returns it."""

    cache_type: str
    key: str
    epoch: int
    born: int


class _Marks:
    """The marks of one task. A miss is noted with the task that started it, too.

    `asyncio.wait_for(cache.get(…))` may run the read in a task of its own, whose context is gone when
    the caller sets; but tasks that merely share a parent must not take each other's marks.
    """

    __slots__ = ("forgotten", "forgotten_at", "own", "parent", "task")

    def __init__(self, task: object, parent: _Marks | None) -> None:
        self.task = task
        self.parent = parent
        self.own: dict[_Name, _Mark] = {}
        self.forgotten: dict[int, _Mark] = {}
        """By owner, the oldest mark that was forgotten lately."""
        self.forgotten_at = 0.0

    def leave(self, name: _Name, mark: _Mark) -> None:
        if len(self.own) >= MAX_MARKS:
            oldest = next(iter(self.own))
            if time.monotonic() - self.forgotten_at > FORGOTTEN_SECONDS:
                self.forgotten.clear()
            self.forgotten.setdefault(oldest[0], self.own.pop(oldest))
            self.forgotten_at = time.monotonic()
        self.own.setdefault(name, mark)

    def take(self, name: _Name) -> _Mark | None:
        mark = self.own.pop(name, None)
        if mark is None and self.forgotten and time.monotonic() - self.forgotten_at <= FORGOTTEN_SECONDS:
            mark = self.forgotten.get(name[0])
        return mark


_marks: ContextVar[_Marks | None] = ContextVar("stoker_marks", default=None)


#: Misses of tasks that did nothing but read: their marks are for whichever task sets the key.
_loose: dict[_Name, _Mark] = {}

#: Loose marks that are kept; the oldest is forgotten first.
MAX_LOOSE_MARKS = 100_000

_READS = frozenset({"Reads.get", "Reads.get_many"})


def leave_mark(owner: int, cache_type: str, key: str, epoch: int, born: int) -> None:
    """Remember the first miss of a key in this task."""
    marks = _of_this_task()
    name, mark = (owner, cache_type, key), (epoch, born)
    marks.leave(name, mark)
    if marks.parent is not None:
        marks.parent.leave(name, mark)
    if _only_reads():
        if len(_loose) >= MAX_LOOSE_MARKS:
            del _loose[next(iter(_loose))]
        _loose.setdefault(name, mark)


def take_mark(owner: int, cache_type: str, key: str) -> tuple[int, int] | None:
    """Return (epoch, born) of the task's miss of a key, once."""
    name = (owner, cache_type, key)
    loose = _loose.pop(name, None) if _loose else None
    if _marks.get() is None:
        return loose  # nothing was read in this task, nor in the one that started it
    own = _of_this_task().take(name)
    return own if own is not None else loose


def drop_mark(owner: int, cache_type: str, key: str) -> None:
    """Forget a miss that was never followed by a set: the key has been found since."""
    marks = _marks.get()
    if marks is not None and marks.own:
        marks.own.pop((owner, cache_type, key), None)
    if _loose:
        _loose.pop((owner, cache_type, key), None)


def _only_reads() -> bool:
    """Whether this task is one read and nothing else, as `wait_for` and `gather` make them.

    Nobody can set in such a task; and nothing tells which task waits for it.
    """
    task = asyncio.current_task()
    return task is not None and getattr(task.get_coro(), "__qualname__", "") in _READS


def _of_this_task() -> _Marks:
    task = asyncio.current_task()
    marks = _marks.get()
    if marks is None or marks.task is not task:
        # The parent's own parent is let go: a chain would keep every ancestor's marks alive.
        if marks is not None:
            marks.parent = None
        marks = _Marks(task, marks)
        _marks.set(marks)
    return marks
