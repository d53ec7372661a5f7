"""Marks: *get, miss, compute, set* is a load by hand, and its set is stamped with where its miss stood.

A miss leaves a mark for its task; the set of the same key takes it. Without one, a value that was computed
before an invalidation could be stored as if it had been computed after it.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

_Name = tuple[int, str, str]

#: Marks one task holds; the oldest is forgotten first, and its set then counts as vouched for now.
MAX_MARKS = 1_000


class _Marks:
    """The marks of one task. A miss is noted with the task that started it, too.

    `asyncio.wait_for(cache.get(…))` may run the read in a task of its own, whose context is gone when
    the caller sets; but tasks that merely share a parent must not take each other's marks.
    """

    __slots__ = ("own", "parent", "task")

    def __init__(self, task: object, parent: _Marks | None) -> None:
        self.task = task
        self.parent = parent
        self.own: dict[_Name, tuple[int, int]] = {}

    def leave(self, name: _Name, mark: tuple[int, int]) -> None:
        if len(self.own) >= MAX_MARKS:
            del self.own[next(iter(self.own))]
        self.own.setdefault(name, mark)


_marks: ContextVar[_Marks | None] = ContextVar("stoker_marks", default=None)


def leave_mark(owner: int, cache_type: str, key: str, epoch: int, born: int) -> None:
    """Remember the first miss of a key in this task."""
    marks = _of_this_task()
    name = (owner, cache_type, key)
    marks.leave(name, (epoch, born))
    if marks.parent is not None:
        marks.parent.leave(name, (epoch, born))


def take_mark(owner: int, cache_type: str, key: str) -> tuple[int, int] | None:
    """Return (epoch, born) of the task's miss of a key, once."""
    return _of_this_task().own.pop((owner, cache_type, key), None)


def drop_mark(owner: int, cache_type: str, key: str) -> None:
    """Forget a miss that was never followed by a set: the key has been found since."""
    marks = _marks.get()
    if marks is not None and marks.own:
        marks.own.pop((owner, cache_type, key), None)


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
