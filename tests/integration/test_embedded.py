"""The embedded server: found, started, kept, and gone with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from stoker.worker import embedded
from stoker.worker.embedded import EmbeddedServer, NoServerError, find_server
from tests.processes import is_gone
from tests.waiting import wait_until


def test_an_explicit_program_comes_first(tmp_path: Path) -> None:
    program = tmp_path / "my-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert find_server({"STOKER_SERVER": str(program), "PATH": ""}) == program


def test_an_explicit_program_that_is_not_there_is_told() -> None:
    with pytest.raises(NoServerError, match="STOKER_SERVER is '/nowhere/redis-server'"):
        find_server({"STOKER_SERVER": "/nowhere/redis-server"})


def test_the_path_is_searched_when_no_wheel_brings_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "WHEELS", (("stoker_no_such_wheel", "*"),))
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert find_server({"PATH": str(tmp_path)}) == program
    with pytest.raises(NoServerError, match=r"pip install 'stoker\[embedded\]'"):
        find_server({"PATH": "/nowhere"})


def test_it_serves_and_a_restart_keeps_the_entries(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "data")
    with server, redis.Redis.from_url(server.url, protocol=2) as client:
        client.set("kept", "yes")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    port = server.port
    assert server.problem() is not None

    with server, redis.Redis.from_url(server.url, protocol=2) as client:
        assert client.get("kept") == b"yes"
        assert server.port == port


def test_only_this_machine_can_reach_it(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server:
        listening = [
            tuple(connection.laddr)
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[-1:] == (server.port,)
        ]

    assert listening == [("127.0.0.1", server.port)]


def test_one_that_will_not_start_is_told(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)

    with pytest.raises(NoServerError, match="does not serve port"):
        EmbeddedServer(tmp_path / "data", program=program).start()


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from stoker.worker.embedded import EmbeddedServer\n"
        f"server = EmbeddedServer(pathlib.Path({str(tmp_path)!r})).start()\n"
        "print(server.port, flush=True)\n"
        "sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout
        port = int(parent.stdout.readline())
        (server,) = psutil.Process(parent.pid).children()
        os.kill(parent.pid, signal.SIGKILL)

    wait_until(lambda: is_gone(server), f"the server on port {port} is gone")
