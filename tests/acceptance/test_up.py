"""The real `stoker up`: one command, everything runs; deaths, stops and kills."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from tests.commands import STOKER, clean_environment
from tests.processes import is_gone
from tests.servers import RedisServer, free_port
from tests.waiting import wait_until

#: A machine that is busy with other tests takes its time.
PATIENCE = 60.0

PARTS = ("server", "worker", "beat", "exporter")

LOADERS = """
from stoker.core.loading.loaders import loader

@loader("up.product", cache_type="product")
async def load_product(product_id: int) -> dict[str, int]:
    return {"id": product_id}
"""


class Up:
    """A `stoker up` in a folder of its own, with ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("worker", "beat", "metrics")}
        self.log = folder / "out.log"
        self.process: psutil.Popen | None = None
        self.family: list[psutil.Process] = []
        (folder / "up_loaders.py").write_text(LOADERS)
        self.configure()

    def configure(self, processes: dict[str, Any] | None = None) -> None:
        config = {
            "loaders": ["up_loaders"],
            "types": {"product": {"ttl": "30s"}},
            "worker": {"listen": f"127.0.0.1:{self.ports['worker']}"},
            "beat": {"listen": f"127.0.0.1:{self.ports['beat']}"},
            "metrics": {"listen": f"127.0.0.1:{self.ports['metrics']}"},
            "schedule": {"warm": {"every": "1s"}},
            "up": {"processes": processes or {}},
        }
        (self.folder / "stoker.yaml").write_text(json.dumps(config))

    def start(self) -> psutil.Popen:
        with self.log.open("ab") as out:
            self.process = psutil.Popen(
                [*STOKER, "up"],
                cwd=self.folder,
                env=clean_environment(PATH="/usr/bin:/bin"),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return self.process

    def start_until_ready(self) -> psutil.Popen:
        process = self.start()
        wait_until(
            lambda: self.events("Stoker is ready") or process.poll() is not None, "ready", timeout=PATIENCE
        )
        assert process.poll() is None, self.log.read_text()
        self.family = process.children(recursive=True)
        return process

    def events(self, text: str) -> list[dict[str, Any]]:
        """The lines of `stoker up` itself that hold a text."""
        found: list[dict[str, Any]] = []
        for line in self.log.read_text().splitlines() if self.log.exists() else ():
            if line.startswith("{") and line.endswith("}"):
                fields = json.loads(line)
                if fields.get("component") == "up" and text in fields["event"]:
                    found.append(fields)
        return found

    def wait_for(self, text: str, count: int) -> None:
        """Wait until `stoker up` has said a text so often."""
        wait_until(lambda: len(self.events(text)) >= count, f"{count} times: {text}", timeout=PATIENCE)

    def part(self, name: str) -> psutil.Process:
        """The process of a part."""
        (found,) = [
            process
            for process in self.family
            if not is_gone(process) and (process.cmdline()[-1] == name or name in process.name())
        ]
        return found

    def url(self) -> str:
        return str(json.loads((self.folder / ".stoker" / "up.json").read_text())["redis_url"])

    def wait(self) -> int:
        assert self.process
        return int(self.process.wait(timeout=PATIENCE))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*STOKER, *arguments],
            cwd=self.folder,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def end(self) -> None:
        """Whatever happened, leave nothing behind."""
        if self.process and self.process.poll() is None:
            self.family += self.process.children(recursive=True)
            self.process.kill()
            self.process.wait()
        for process in self.family:
            if not is_gone(process):
                process.kill()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    found = Up(tmp_path)
    yield found
    found.end()


def test_everything_runs_and_sigterm_stops_it_in_order(up: Up) -> None:
    app = free_port()
    page = f"http://127.0.0.1:{app}/"
    # Its `python` is the one that Stoker is installed for, whatever PATH says.
    (up.folder / "shop.py").write_text(
        "import runpy, sys\nimport stoker.core.errors\n"
        f"sys.argv = ['', '{app}', '--bind', '127.0.0.1']\n"
        "runpy.run_module('http.server', run_name='__main__')\n"
    )
    up.configure({"shop": {"command": "python shop.py", "ready": page}})

    process = up.start_until_ready()

    (ready,) = up.events("Stoker is ready")
    assert ready["parts"]["exporter"] == f"http://127.0.0.1:{up.ports['metrics']}/metrics"
    assert ready["parts"]["config"] == str(up.folder / "stoker.yaml")
    assert ready["parts"]["shop"] == page
    for name in up.ports:
        assert httpx.get(f"http://127.0.0.1:{up.ports[name]}/readyz").json()["ok"]
    assert httpx.get(page).status_code == 200
    assert "stoker_up 1.0" in httpx.get(f"http://127.0.0.1:{up.ports['metrics']}/metrics").text
    wait_until(lambda: up.events("first warm run after"), "the first warm run", timeout=PATIENCE)

    # Another command finds the server of the `stoker up` that runs from the same folder.
    stats = json.loads(up.command("stats", "--json").stdout)
    assert {item["component"] for item in stats["processes"] if item["alive"]} == {
        "worker",
        "beat",
        "exporter",
    }

    process.terminate()

    assert up.wait() == 0
    stopped = [fields["process"] for fields in up.events("stopping ")]
    assert stopped[0] == "shop"
    assert set(stopped[1:3]) == {"beat", "exporter"}
    assert stopped[3:] == ["worker", "server"]
    assert up.events("all stopped")
    assert not up.events("died")
    assert all(is_gone(child) for child in up.family)


def test_a_part_that_is_killed_comes_back(up: Up) -> None:
    process = up.start_until_ready()
    server_url = up.url()

    for number, name in enumerate(PARTS, 1):
        up.family = process.children(recursive=True)
        up.part(name).kill()
        up.wait_for("is ready again", number)
    assert [fields["process"] for fields in up.events("died")] == list(PARTS)
    assert up.url() == server_url

    process.send_signal(signal.SIGINT)
    assert up.wait() == 0
    assert all(is_gone(child) for child in up.family)


def test_kill_9_of_it_leaves_no_orphan_and_the_next_one_keeps_the_entries(up: Up) -> None:
    # An application whose own children must go too.
    up.configure({"app": {"command": "sh -c 'sleep 1000 & sleep 1000'"}})
    process = up.start_until_ready()
    wait_until(lambda: len(process.children(recursive=True)) >= 8, "the application's own children")
    up.family = process.children(recursive=True)
    with redis.Redis.from_url(up.url(), protocol=2) as client:
        client.set("kept", "yes")
        wait_until(lambda: client.info("persistence")["aof_buffer_length"] == 0, "it is written to the file")

    process.kill()
    process.wait()
    wait_until(lambda: all(is_gone(child) for child in up.family), "no process is left")

    up.log.unlink()
    process = up.start_until_ready()
    with redis.Redis.from_url(up.url(), protocol=2) as client:
        assert client.get("kept") == b"yes"
    process.terminate()
    assert up.wait() == 0


def test_a_taken_port_is_told_before_anything_starts(up: Up) -> None:
    with socket.create_server(("127.0.0.1", up.ports["beat"])):
        up.start()
        code = up.wait()

    text = up.log.read_text()
    assert code == 2
    assert text.startswith(f"error: port {up.ports['beat']} on 127.0.0.1 is taken")
    assert "beat.listen (STOKER_BEAT__LISTEN)" in text
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1
    assert not (up.folder / ".stoker" / "appendonlydir").exists()


def test_a_page_that_somebody_else_answers_is_told_too(up: Up) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        up.configure({"shop": {"command": "python shop.py", "ready": f"http://127.0.0.1:{port}/"}})
        up.start()

        assert up.wait() == 2
    assert f"port {port} on 127.0.0.1 is taken" in up.log.read_text()
    assert "up.processes.shop.ready" in up.log.read_text()


def test_two_from_one_folder_are_refused(up: Up) -> None:
    process = up.start_until_ready()

    second = up.command("up")

    assert second.returncode == 2
    assert f"another `stoker up` (process {process.pid}) runs from" in second.stderr


def test_two_options_with_one_port_are_refused(up: Up) -> None:
    up.ports["beat"] = up.ports["worker"]
    up.configure()
    up.start()

    assert up.wait() == 2
    assert "beat.listen and worker.listen are both" in up.log.read_text()


def test_on_a_terminal_over_a_server_that_is_configured(
    up: Up, redis_server: RedisServer, prefix: str
) -> None:
    variables = {"REDIS_URL": redis_server.url, "STOKER_PREFIX": prefix, "TERM": "xterm"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(up.folder)
        os.execve(STOKER[0], [*STOKER, "up"], clean_environment(**variables))
    text = ""

    def read() -> str:
        nonlocal text
        try:
            text += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # the other end has been closed
            text += "\x04"
        return text

    up.process = psutil.Process(child)  # type: ignore[assignment]
    wait_until(lambda: "Ctrl-C stops everything" in read(), "the summary", timeout=PATIENCE)
    assert "Stoker is ready, after" in text
    assert f"http://127.0.0.1:{up.ports['metrics']}/metrics" in text
    assert re.search(rf"server.*{re.escape(redis_server.url)}", text)
    assert "embedded" not in text
    up.family = psutil.Process(child).children(recursive=True)
    assert len(up.family) == 4  # worker, beat, exporter, and the guard

    os.write(terminal, b"\x03")
    wait_until(lambda: "all stopped" in read(), "the end", timeout=PATIENCE)

    _, status = os.waitpid(child, 0)
    os.close(terminal)
    up.process = None
    assert os.waitstatus_to_exitcode(status) == 0
    assert all(is_gone(process) for process in up.family)
    assert '{"' not in text
    assert not (up.folder / ".stoker").exists()
