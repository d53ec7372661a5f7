"""The whole of Stoker with the example shop: the real `stoker up`, on free ports, in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import redis
import yaml

from stoker.core.keys import Keys
from stoker.worker.running import running_server

ROOT = Path(__file__).resolve().parents[1]
SHOP_CONFIG = ROOT / "examples" / "shop" / "stoker.yaml"

#: Seconds that starting, or starting again, may take.
PATIENCE_SECONDS = 60.0


@dataclass
class Settings:
    """What a stack is to be like."""

    ttl: str = "30s"
    """Of products and of category pages."""
    warming: bool = True
    query_milliseconds: float = 5.0
    """What a load costs at least."""
    min_requests: float | None = None
    """Of the products' warm policy; the example's where not given."""


class Stack:
    """`stoker up` as a child process."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._config = _configuration(folder, settings)
        self.shop = str(self._config["up"]["processes"]["shop"]["ready"]).removesuffix("/healthz")
        self._ready = {
            "worker": f"http://{self._config['worker']['listen']}/readyz",
            "beat": f"http://{self._config['beat']['listen']}/readyz",
            "exporter": f"http://{self._config['metrics']['listen']}/readyz",
            "shop": f"{self.shop}/healthz",
        }
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("STOKER_", "CACHE_", "REDIS_"))
            },
            "SHOP_DATABASE": str(folder / "shop.sqlite"),
            "SHOP_QUERY_MS": str(settings.query_milliseconds),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start everything; return after how many seconds all of it was ready."""
        path = self.folder / "stoker.yaml"
        path.write_text(yaml.safe_dump(self._config), encoding="utf-8")
        began = time.monotonic()
        command = [sys.executable, "-m", "stoker.worker.cli", "up", "-c", str(path)]
        with (self.folder / "up.log").open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )
        for url in self._ready.values():
            wait_for(partial(self._answers, url), f"{url} answers: see {output.name}")
        return time.monotonic() - began

    def stop(self) -> None:
        """Stop everything, gently where that works."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self, component: str) -> Callable[[], bool]:
        """SIGKILL the worker, beat or the server; return what tells whether it is back and ready."""
        process = self._find(component)
        process.kill()
        # The parent may reap it first.
        psutil.wait_procs([process], timeout=5)
        if component == "server":
            return self.server_answers
        return lambda: answers(self._ready[component])

    def server_answers(self) -> bool:
        """Whether the server answers and has its data."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def last_warm_run(self) -> bytes | None:
        """When the last warm run of the products began, or None if that can't be told."""
        try:
            with self.client() as client:
                found: Any = client.get(Keys(self._config["prefix"]).run("warm", "last:product"))
                return found if isinstance(found, bytes) else None
        except redis.RedisError:
            return None

    def client(self) -> redis.Redis:
        """A plain client of the stack's server."""
        url = running_server(Path(self._config["up"]["data"]))
        if url is None:
            raise redis.ConnectionError("the stack has no server")
        return redis.Redis.from_url(url, protocol=2, socket_timeout=1, socket_connect_timeout=1)

    def _answers(self, url: str) -> bool:
        if self.process is None or self.process.poll() is not None:
            log = (self.folder / "up.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"`stoker up` ended: {log[-3000:]}")
        return answers(url)

    def _find(self, component: str) -> psutil.Process:
        if self.process is None:
            raise RuntimeError("the stack was not started")
        for child in psutil.Process(self.process.pid).children(recursive=True):
            line = child.cmdline()
            if component == "server":
                if line and "-server" in line[0]:  # servers put their address into their title
                    return child
            elif line[-1:] == [component] and "stoker.worker.cli" in line:
                return child
        raise RuntimeError(f"`stoker up` has no child that is the {component}")


@contextmanager
def stack(settings: Settings) -> Generator[tuple[Stack, float], None, None]:
    """A running stack in a temporary folder, and the seconds that its start took."""
    with tempfile.TemporaryDirectory(prefix="stoker-bench-", ignore_cleanup_errors=True) as name:
        running = Stack(Path(name), settings)
        try:
            yield running, running.start()
        finally:
            running.stop()


def wait_for(predicate: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS) -> float:
    """Wait until `predicate` holds; return how many seconds that took."""
    began = time.monotonic()
    while not predicate():
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_address() -> str:
    """A loopback address that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _configuration(folder: Path, settings: Settings) -> dict[str, Any]:
    """The example's configuration, moved to a folder and to ports of its own, without its traffic."""
    config: dict[str, Any] = yaml.safe_load(SHOP_CONFIG.read_text(encoding="utf-8"))
    for policy in config["types"].values():
        policy["ttl"] = settings.ttl
        if not settings.warming:
            policy["warm"] = {"mode": "none"}
    if settings.warming and settings.min_requests is not None:
        config["types"]["product"]["warm"]["min_requests"] = settings.min_requests
    if not settings.warming:
        config["schedule"] = {"warm": {"task": "warm", "every": "5s", "enabled": False}}
    shop = free_address()
    port = shop.partition(":")[2]
    command = str(config["up"]["processes"]["shop"]["command"]).replace("--port 8000", f"--port {port}")
    config["up"] = {
        "data": str(folder / "data"),
        "processes": {"shop": {"command": command, "ready": f"http://{shop}/healthz"}},
    }
    for component in ("worker", "beat", "metrics"):
        config[component] = {**config.get(component, {}), "listen": free_address()}
    return config
