"""The `stoker up` that runs from a data directory: one at a time, and where others find its server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO, Self, cast

from stoker.core.errors import StokerError

_FILE = "up.json"


class AlreadyRunningError(StokerError):
    """Another `stoker up` uses the data directory; the message names its process."""


class Claim:
    """The right to run a server from a data directory; the kernel takes it back when the process dies.

    Raises:
        AlreadyRunningError: Another process has it (on entering).
    """

    def __init__(self, data: Path) -> None:
        self._path = data / _FILE
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = self._path.open("a+", encoding="utf-8")
        self._path.chmod(0o600)
        if not self._locked():
            self._file.close()
            other = _read(self._path).get("process_id", "?")
            raise AlreadyRunningError(
                f"another `stoker up` (process {other}) runs from {self._path.parent}: "
                "stop that one, or set up.data (STOKER_UP__DATA) to another directory"
            )
        return self

    def _locked(self) -> bool:
        """Take the lock; a reader may hold it for a moment."""
        for _ in range(10):
            try:
                fcntl.flock(cast("IO[str]", self._file), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                return True
        return False

    def publish(self, url: str) -> None:
        """Tell other commands on this machine where the server is."""
        assert self._file  # noqa: S101  # entered
        self._file.seek(0)
        self._file.truncate()
        json.dump({"process_id": os.getpid(), "redis_url": url}, self._file)
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        if self._file:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()


def running_server(data: Path) -> str | None:
    """The URL of the server of the `stoker up` that runs from `data`; None if none does."""
    path = data / _FILE
    try:
        with path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(path).get("redis_url")
    except OSError:
        return None
    return None  # nobody holds it: what stands there is of a process that was killed


def _read(path: Path) -> dict[str, str]:
    try:
        return {key: str(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError):
        return {}
