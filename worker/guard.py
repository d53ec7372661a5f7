"""The guard of a supervisor: a tiny program that outlives it by a moment, to kill what it left.

Run as a file (`python -I -S guard.py`), with nothing but the standard library, so that it starts in
milliseconds. It reads `+<group>` and `-<group>` lines on its standard input. When that ends without a word,
because the supervisor was killed, all process groups that are still on the list are killed too.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Follow the supervisor's list until its end of the pipe is closed, then kill what is on it."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
