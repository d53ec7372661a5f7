"""Real servers as child processes, each on a free port with its files in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import redis


def free_port() -> int:
    """A loopback port that was free a moment ago, and none that a connection would be given by chance."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def redis_program() -> str:
    """The server under test: $STOKER_TEST_SERVER, one on PATH, or the one that a wheel brings."""
    found = (
        os.environ.get("STOKER_TEST_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
    )
    if found:
        return found
    from stoker.worker.embedded import find_server

    return str(find_server())


def valkey_program() -> str | None:
    """A Valkey server: on PATH, or the one that a wheel brings; None where there is neither."""
    from stoker.worker.embedded import find_server

    found = shutil.which("valkey-server") or str(find_server())
    return found if Path(found).name.startswith("valkey") else None


class RedisServer:
    """A Redis (or Valkey) process that a test may freeze, kill and start again on the same port.

    Args:
        options: For the server's command line.
        program: Which server; the one under test where not given.
    """

    def __init__(self, *options: str, program: str | None = None) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="stoker-test-redis-"))
        self.options = options
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        """A plain synchronous client, for looking from outside."""
        words = " ".join(self.options).split("--requirepass ")
        password = words[1].split(" --")[0] if len(words) > 1 else None
        return redis.Redis(port=self.port, protocol=2, socket_timeout=10, password=password)

    def command(self) -> list[str]:
        """What is started."""
        return [
            self.program or redis_program(), "--port", str(self.port), "--bind", "127.0.0.1",
            "--dir", str(self.folder), "--save", "", "--appendonly", "no", "--daemonize", "no", *self.options,
        ]  # fmt: skip

    def start(self, *, timeout: float = 20.0) -> Self:
        command = self.command()
        with (self.folder / "server.log").open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        end = time.monotonic() + timeout
        client = self.client()
        while True:
            try:
                if client.ping():
                    client.close()
                    return self
            except redis.RedisError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(
                        f"no server: {(self.folder / 'server.log').read_text()[-2000:]}"
                    ) from None
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: nothing is saved, nobody is told."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
