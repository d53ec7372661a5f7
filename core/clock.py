"""The clock by which a process tells how old its knowledge of the log is."""

from __future__ import annotations

import time

if hasattr(time, "CLOCK_BOOTTIME"):

    def boottime() -> float:
        """Seconds on a clock that runs on while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:  # macOS: its monotonic clock stands still in sleep, the wall clock does not

    def boottime() -> float:
        """Seconds on a clock that runs on while the machine is suspended."""
        return time.time()
