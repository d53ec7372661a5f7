"""Looking at processes from outside."""

from __future__ import annotations

import psutil


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended; one that only waits to be reaped by a stranger has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
