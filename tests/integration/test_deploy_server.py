"""The server of docker-compose.yml, started here: its command and its configuration, on other paths."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from stoker.core.settings.config import load_config
from stoker.worker.config import StokerConfig
from stoker.worker.doctor import Finding, examine_server
from tests.deployment import DEPLOY, SECRETS, services
from tests.servers import free_port, redis_program
from tests.waiting import wait_until

PASSWORD = SECRETS["REDIS_PASSWORD"]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a server that runs with the command and the configuration of the service `valkey`."""
    service, number = services()["valkey"], free_port()
    settings = (DEPLOY / "valkey" / "valkey.conf").read_text().replace("dir /data", f"dir {tmp_path}")
    (tmp_path / "valkey.conf").write_text(f"{settings}\nport {number}\nbind 127.0.0.1\n")
    shell, flag, script = service["command"]
    script = script.replace("/etc/valkey/valkey.conf", str(tmp_path / "valkey.conf"))
    script = script.replace("exec valkey-server", f"exec {redis_program()}")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [shell, flag, script], env={**os.environ, **service["environment"]}, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: answers(number, process), f"a server: {tmp_path / 'log'}")
        yield number
    finally:
        process.terminate()
        assert process.wait(20) == 0, "SIGTERM reaches the server itself"


def answers(number: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        with redis.Redis(port=number, password=PASSWORD, protocol=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def test_it_asks_for_its_password_and_suits_stoker(port: int) -> None:
    with redis.Redis(port=port, protocol=2) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()

    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    config = load_config(StokerConfig, DEPLOY / "stoker.yaml", {"STOKER_REDIS__URL": url}).value
    with redis.Redis.from_url(url, protocol=2, decode_responses=True) as client:
        found = {finding.about: finding for finding in examine_server(client, config)}
        limit, pid = client.config_get("maxmemory"), client.info()["process_id"]

    assert found["eviction"].severity == "ok", found
    assert found["persistence"] == Finding(
        "persistence", "ok", "append-only file: a restart keeps the entries"
    )
    assert limit == {"maxmemory": str(512 * 2**20)}
    assert PASSWORD not in psutil.Process(pid).cmdline()
