"""Threads of plain loaders that nobody waits for: a stale entry is loaded again behind its answer."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

#: With so many at work, stale entries stay as they are until one has ended. (What began at the same moment,
#: one for each thread that calls, may come on top.)
MOST_THREADS = 32

#: Marks what runs a plain function, which takes a thread.
_PLAIN = "__stoker_plain__"


class ThreadGoneError(asyncio.CancelledError):
    """What ran a plain loader was interrupted: the load is cancelled, and whoever joined it needs another."""


_at_work: set[threading.Thread] = set()


def mark_plain(function: Callable[..., Any]) -> None:
    """Say of an async function that it runs a plain one."""
    setattr(function, _PLAIN, True)


def start_thread(work: Callable[[], object]) -> None:
    """Have a thread of its own do something."""

    def run() -> None:
        try:
            work()
        finally:
            _at_work.discard(thread)

    thread = threading.Thread(target=run, name="stoker-load", daemon=True)
    _at_work.add(thread)
    try:
        thread.start()
    except BaseException:  # it has not begun, and does not count
        _at_work.discard(thread)
        raise


def has_thread(function: Callable[..., Any]) -> bool:
    """Whether a loader may be called behind an answer now: it needs no thread, or there is one."""
    return len(_at_work) < MOST_THREADS or not getattr(function, _PLAIN, False)


os.register_at_fork(after_in_child=_at_work.clear)
