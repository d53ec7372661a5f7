"""pytest-celery's nodes as processes of this machine: its fixtures then need no container engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.commands import STOKER, clean_environment
from tests.servers import free_port, redis_program
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


class ProcessContainer:
    """As much of a container as pytest-celery's nodes, clusters and setups use.

    It does not derive from pytest-celery's own container class: that one wants an engine's object.
    """

    #: Stands in the log once the program can be used.
    ready_prompt = ""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        self.name = self.id = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"stoker-test-{name}-"))
        self.command = command
        self.environment = dict(environment)
        self.process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "log"
        self._began_at = 0

    def start(self) -> None:
        """Start the program; its log goes on."""
        self._began_at = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    @property
    def status(self) -> str:
        return "running" if self.process and self.process.poll() is None else "exited"

    @property
    def celeryconfig(self) -> dict[str, Any]:
        """What pytest-celery asks of a broker: its URL, inside and outside of a container."""
        return {}

    def logs(self) -> str:
        return self._log.read_text(errors="replace")

    def ready(self, timeout: float = 60.0) -> bool:
        """Wait until the program that was started last says that it is ready."""

        def prompted() -> bool:
            assert self.status == "running", f"{self.name} has ended:\n{self.logs()[-3000:]}"
            return self.ready_prompt in self._log.read_bytes()[self._began_at :].decode(errors="replace")

        return wait_until(prompted, f"{self.name} is ready", timeout=timeout)

    def reload(self) -> None:
        """Nothing to do: the status is always looked up."""

    def kill(self, signal: str | int = "SIGKILL") -> None:
        """Send a signal; SIGKILL goes to all that the program started, as in a container."""
        if not self.process or self.status != "running":
            return
        number = signal if isinstance(signal, int) else _number(signal)
        if number == _number("SIGKILL"):
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(30)

    def restart(self, timeout: float = 60.0) -> None:
        self.kill("SIGTERM")
        self.start()
        self.ready(timeout)

    def teardown(self) -> None:
        self.kill("SIGTERM")
        shutil.rmtree(self.folder, ignore_errors=True)


def _number(name: str) -> int:
    return int(getattr(signal, name))


class RedisNode(ProcessContainer):
    """A Redis as broker."""

    ready_prompt = "Ready to accept connections"

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__("redis", [], os.environ)
        self.command = [
            redis_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
            "--save", "", "--appendonly", "no",
        ]  # fmt: skip
        self.start()

    @property
    def celeryconfig(self) -> dict[str, Any]:
        url = f"redis://127.0.0.1:{self.port}/0"
        return {"url": url, "host_url": url}


class RabbitNode(ProcessContainer):
    """A RabbitMQ as broker, with a node, data, ports and a port mapper of its own."""

    ready_prompt = "Server startup complete"

    def __init__(self) -> None:
        super().__init__("rabbitmq", [rabbit_program()], {})
        self.port, self.mapper_port = free_port(), free_port()
        self.environment = {
            **os.environ,
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": f"stoker{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(self.mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
        }
        self.start()

    @property
    def celeryconfig(self) -> dict[str, Any]:
        url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        return {"url": url, "host_url": url}

    def teardown(self) -> None:
        """End the server, and the port mapper that it has started: it goes on by itself otherwise."""
        self.kill("SIGKILL")
        mapper = shutil.which("epmd")
        if mapper:
            command = [mapper, "-port", str(self.mapper_port), "-kill"]
            wait_until(
                lambda: (
                    (b"not running" not in (output := _output(command)) and b"Killed" in output)
                    or b"Cannot connect" in output
                ),
                "the port mapper has ended",
            )
        super().teardown()


def rabbit_program() -> str:
    """RabbitMQ's own script: the one on PATH may be a wrapper that runs it as another user."""
    own = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    return str(own) if own.exists() else str(shutil.which("rabbitmq-server"))


def _output(command: list[str]) -> bytes:
    return subprocess.run(command, capture_output=True, check=False).stdout


class WorkerNode(ProcessContainer):
    """A worker: `stoker worker`, or Celery's own command on the same application."""

    ready_prompt = " ready."

    def __init__(self, config: dict[str, Any], *, celery_command: bool = False) -> None:
        super().__init__("worker", [], {})
        file = self.folder / "stoker.json"
        file.write_text(json.dumps(config))  # JSON is YAML too
        self.environment = clean_environment(
            STOKER_CONFIG=str(file), PYTHONPATH=str(ROOT), C_FORCE_ROOT="1", PYTHONUNBUFFERED="1"
        )
        celery = [sys.executable, "-m", "celery", "-A", "stoker.worker.app", "worker", "-l", "INFO"]
        self.command = celery if celery_command else [*STOKER, "worker"]
        self.start()

    def worker_name(self) -> str:
        return "stoker"
