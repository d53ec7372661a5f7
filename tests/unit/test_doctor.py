"""What the doctor says of servers that can't be had for a test."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from stoker.worker.config import StokerConfig
from stoker.worker.doctor import check_memory, check_persistence, check_role, check_version, server_trouble

CONFIG = StokerConfig.model_validate({"redis": {"url": "redis://app:s3cret@cache:6379/0"}})


@pytest.mark.parametrize(
    ("info", "severity", "text"),
    [
        ({"redis_version": "7.2.4"}, "ok", "Redis 7.2.4"),
        ({"redis_version": "6.2.0"}, "ok", "Redis 6.2.0"),
        ({"redis_version": "6.0.16"}, "error", "Redis 6.0.16 at redis://app:***@cache:6379/0 is too old"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "ok", "Valkey 9.1.2"),
    ],
)
def test_versions(info: dict[str, Any], severity: str, text: str) -> None:
    finding = check_version(info, CONFIG)

    assert finding.severity == severity
    assert finding.text.startswith(text)


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_eviction_that_may_take_the_log_is_wrong(policy: str) -> None:
    (eviction, _) = check_memory({"maxmemory_policy": policy})

    assert eviction.severity == "error"
    assert "noeviction" in eviction.remedy


@pytest.mark.parametrize(
    ("used", "limit", "severity"), [(95, 100, "error"), (50, 100, "ok"), (10**9, 0, "ok")]
)
def test_a_full_server_is_wrong(used: int, limit: int, severity: str) -> None:
    (_, memory) = check_memory({"used_memory": used, "maxmemory": limit})

    assert memory.severity == severity


@pytest.mark.parametrize(
    ("info", "severity"),
    [
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "ok"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "error"),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "ok"}, "warning"),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "err"}, "error"),
        ({"loading": 1}, "warning"),
    ],
)
def test_persistence(info: dict[str, Any], severity: str) -> None:
    finding = check_persistence(info)

    assert finding.severity == severity
    assert (finding.severity == "ok") == (not finding.remedy)


def test_a_replica_is_wrong() -> None:
    assert check_role({"role": "slave"}).severity == "error"
    assert check_role({"role": "master"}).severity == "ok"


def test_a_refusal_is_told_apart_from_silence() -> None:
    refused = server_trouble(redis.ResponseError("NOPERM no permissions to run 'info'"), CONFIG)
    silent = server_trouble(redis.ConnectionError("refused"), CONFIG)

    assert "refuses: NOPERM" in refused.text
    assert "ACL" in refused.remedy
    assert "does not answer" in silent.text
    assert "s3cret" not in refused.text + silent.text
