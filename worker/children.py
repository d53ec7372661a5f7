"""Child processes that never outlive their parent.

Two nets, since neither alone is enough: on Linux the kernel kills the child itself (`PR_SET_PDEATHSIG`), and
everywhere a [guard][stoker.worker.guard] kills whole process groups, so the children's own children too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

_PR_SET_PDEATHSIG = 1

#: Looked up before any fork: nothing is imported or loaded between fork and exec.
_PRCTL: Callable[..., int] | None = (
    ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
)


def dying_with(parent: int) -> Callable[[], None]:
    """Return what a child of process `parent` runs between fork and exec to be killed when it dies.

    The signal follows the *thread* that forked: fork from the main thread.
    """

    def between_fork_and_exec() -> None:
        if _PRCTL is not None:
            _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above, which says nothing of the past
            os._exit(1)

    return between_fork_and_exec


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    output: int | None = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own (a Ctrl-C goes past it), to die with this process.

    Args:
        command: The program and its arguments; no shell.
        environment: The whole environment, or None for this process's own.
        folder: The working directory, or None for this process's own.
        output: Where both standard output and standard error go.

    Raises:
        OSError: There is no such program or folder.
    """
    return subprocess.Popen(  # noqa: S603  # one thread forks; the command is the user's own
        list(command),
        env=None if environment is None else dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=dying_with(os.getpid()),  # noqa: PLW1509  # it takes no lock
    )


def kill_group(process_id: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to the process group that `spawn` made for a child; a group that is gone is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process_id, how)


class Guard:
    """This process's line to its guard; see the module's text."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # our own file
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

        self._pipe = cast("IO[bytes]", self._process.stdin)

    @property
    def process_id(self) -> int:
        """The guard's own process."""
        return self._process.pid

    def add(self, group: int) -> None:
        """Kill process group `group` if this process is killed."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Forget a process group that is gone; its number may come again."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Let the guard go; it kills whatever is still on its list."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # somebody killed the guard: the kernel's net is left
            self._pipe.write(line.encode())
            self._pipe.flush()
