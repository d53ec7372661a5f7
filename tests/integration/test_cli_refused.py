"""What commands say of a server that answers, but refuses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.commands import run_stoker
from tests.servers import RedisServer


def run(
    server: RedisServer, folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {"STOKER_TYPES__PRODUCT__TTL": "60s", **variables}
    return run_stoker(*arguments, url=server.url, folder=folder, environment=environment)


@pytest.mark.parametrize("known", [False, True], ids=["empty server", "with a log"])
@pytest.mark.parametrize("command", [("invalidate", "product:1"), ("pause", "product")])
def test_a_full_server_is_called_full(
    known: bool, command: tuple[str, ...], tmp_path: Path, own_redis_server: RedisServer
) -> None:
    if known:
        run(own_redis_server, tmp_path, "resume")
    with own_redis_server.client() as client:
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory-policy", "noeviction")

    done = run(own_redis_server, tmp_path, *command)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "answers, but refuses: OOM" in done.stderr
    assert "it is full: raise maxmemory" in done.stderr


def test_a_replica_is_called_one(tmp_path: Path, own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")

    done = run(own_redis_server, tmp_path, "pause", "product")

    assert done.returncode == 2
    assert "answers, but refuses" in done.stderr
    assert "primary" in done.stderr


@pytest.mark.parametrize("command", [("stats",), ("pause", "product")])
def test_a_key_of_somebody_else_names_the_prefix(
    command: tuple[str, ...], tmp_path: Path, redis_server: RedisServer, prefix: str
) -> None:
    with redis_server.client() as client:
        client.set(f"{prefix}:paused", "not ours")

    done = run(redis_server, tmp_path, *command, STOKER_PREFIX=prefix)

    assert done.returncode == 2
    assert "answers, but refuses: WRONGTYPE" in done.stderr
    assert f"a key below '{prefix}:' holds something that is not Stoker's" in done.stderr


def test_a_wrong_password_is_no_missing_server(tmp_path: Path, own_redis_server: RedisServer) -> None:
    with own_redis_server.client() as client:
        client.config_set("requirepass", "s3cret")

    done = run(own_redis_server, tmp_path, "stats")

    assert done.returncode == 2
    assert "set the password in redis.url" in done.stderr


def test_the_machine_lines_of_the_library_come_when_asked_for(
    tmp_path: Path, redis_server: RedisServer, prefix: str
) -> None:
    plain = run(redis_server, tmp_path, "invalidate", "product:1", STOKER_PREFIX=prefix)
    with redis_server.client() as client:
        client.delete(f"{prefix}:log", f"{prefix}:fence")
    asked = run(
        redis_server, tmp_path, "invalidate", "product:1", STOKER_PREFIX=prefix, STOKER_LOGS__LEVEL="warning"
    )

    assert (plain.returncode, plain.stderr) == (0, "")
    assert asked.returncode == 0
    assert "epoch_opened" in asked.stderr


@pytest.mark.parametrize(
    "command", [("explain", "product", "1"), ("hot", "product"), ("invalidate", "product:1", "--dry-run")]
)
def test_who_looks_writes_nothing(
    command: tuple[str, ...], tmp_path: Path, redis_server: RedisServer, prefix: str
) -> None:
    done = run(redis_server, tmp_path, *command, STOKER_PREFIX=prefix)

    assert (done.returncode, done.stderr) == (0, "")
    with redis_server.client() as client:
        assert list(client.scan_iter(match=f"{prefix}:*")) == []
