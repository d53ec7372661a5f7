"""Real parts of Stoker as child processes, each with the configuration and the end that a test gives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.commands import STOKER, clean_environment
from tests.waiting import wait_until

#: What such a process needs at least, over what the test says: no ports, patience with a loaded machine.
QUIET: dict[str, Any] = {
    "worker": {"listen": None, "concurrency": 2},
    "beat": {"listen": None, "lease": 2},
    "logs": {"format": "json", "level": "debug"},
}


class Component:
    """`stoker <name>` in a process of its own, ended when the block ends."""

    def __init__(self, name: str, folder: Path, config: dict[str, Any], **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        file = folder / f"{name}.json"
        file.write_text(json.dumps({**QUIET, **config}))  # JSON is YAML too
        self._command = [*STOKER, "-c", str(file), name]
        self._environment = clean_environment(**{"C_FORCE_ROOT": "1", **environment})
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, once more if it has ended; the log goes on."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self._command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, to it and what it started."""
        if self.process and self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process:
            self.process.wait(10)

    def terminate(self, timeout: float = 10.0) -> int:
        """SIGTERM; return the exit code, fail when there is none in time."""
        assert self.process
        self.process.terminate()
        return self.process.wait(timeout)

    def lines(self, action: str) -> list[dict[str, Any]]:
        """The lines of its log with this action."""
        found = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in found if line.get("action") == action]

    def wait_for(self, action: str, count: int = 1, *, timeout: float = 30.0) -> list[dict[str, Any]]:
        """Wait for so many lines with this action and return them."""

        def enough() -> list[dict[str, Any]]:
            assert self.running, f"it has ended: {self.log.read_text()[-3000:]}"
            lines = self.lines(action)
            return lines if len(lines) >= count else []

        return wait_until(enough, f"{count} lines of {action} in {self.log}", timeout=timeout)
