"""Each measurement runs by its command, in the small, prints one JSON document and shows what it must."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def measure(name: str, *options: str, status: int = 0) -> dict[str, Any]:
    """Run `python -m benchmarks.NAME`; no figure that depends on time is judged."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ended.returncode == status, ended.stderr[-3000:]
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_no_invalidation_is_lost_in_an_outage(how: str) -> None:
    times = ("--before", "0.3", "--away", "1", "--after", "0.3")
    document = measure(
        "outage", *times, "--how", how, "--callers", "5", "--invalidations", "200", "--peers", "off"
    )
    run = document["runs"][how]["stoker"]
    assert run["calls_away"] > 0
    assert (run["invalidations"]["made"], run["invalidations"]["lost"]) == (200, 0)


def test_a_tag_dies_in_one_command_and_its_memory_comes_back() -> None:
    [run] = measure("invalidate", "--entries", "2000", "--sample", "50", "--calm", "0.1", "--peers", "off")[
        "stoker"
    ]
    assert run["commands"] == 1
    assert run["sample"] == {"reads": 50, "alive_before": 50, "served_after": 0}
    assert run["sweep"]["unlinked"] == 2000
    assert run["memory_mib"]["given_back"] > 0


def test_many_processes_load_a_key_once_and_one_that_is_killed_is_replaced() -> None:
    sizes = ("--processes", "4", "--callers", "10", "--rounds", "1", "--hits", "50", "--kill-after", "0.2")
    run = measure("stampede", *sizes, "--peers", "off")["stoker"]
    [cold] = run["cold"]
    assert cold["loads"] == 1
    assert cold["commands"] < 100
    assert run["hits"]["by_command"] == {"xrange": 50, "getrange": 50}
    assert run["killed"]["loads"] == 1


def test_all_that_is_compared_can_be_done() -> None:
    cells = measure("peers", "--rounds", "1", "--operations", "200", "--peers", "off")["cells"]
    assert len(cells) == 7
    for name, cell in cells.items():
        assert isinstance(cell["stoker"], dict), f"{name}: {cell['stoker']}"
        assert cell["stoker"]["per_second"] > 0


def test_the_key_of_a_request_is_timed_beside_the_naive_one() -> None:
    keys = measure("request_keys", "--rounds", "1", "--calls", "100")["keys"]
    assert keys["request_key(GenerationRequest)"]["microseconds"] > 0
    assert keys["json.dumps(sort_keys) and sha256"]["times_json"] == 1
    assert keys["msgspec and sha256 alone"]["times_the_least"] == 1


def test_compressed_answers_are_about_as_small_as_by_zlib() -> None:
    kinds = measure("compression", "--rounds", "1", "--values", "10")["compression"]
    for name, methods in kinds.items():
        assert methods["zstd (default)"]["bytes_to_zlib_6"] < 1.05, name
        assert methods["zstd (default)"]["times_faster_than_zlib_6"] > 0
        assert methods["zlib 6"]["bytes_to_zlib_6"] == 1


def test_calls_of_threads_are_measured_beside_the_bare_client() -> None:
    document = measure("sync_calls", "--rounds", "1", "--calls", "20", "--threads", "2")
    names = ("redis-py, get", "get", "get, in memory", "decorated, in memory")
    assert all(document[name]["microseconds"] > 0 for name in names)


def test_no_stale_read_is_found() -> None:
    document = measure(
        "freshness", "--only", "delete / redis / same", "--only", "tag / both / other",
        "--reads", "2000", "--followers", "4", "--lag-seconds", "0.2",
    )  # fmt: skip
    assert document["total"]["checked"] >= 2000
    assert document["total"]["from_cache"] > 0
    assert (document["total"]["stale"], document["total"]["errors"]) == (0, 0)
    assert (document["lag"]["lags"], document["lag"]["never_read"]) == (40, 0)


@pytest.mark.parametrize("rule", ["born-at-the-end", "deaf"])
def test_a_broken_rule_is_found_out(rule: str) -> None:
    document = measure(
        "freshness", "--only", "delete / redis / other", "--reads", "1000000", "--seconds", "60",
        "--break", rule, "--followers", "0", status=1,
    )  # fmt: skip
    violation = document["cells"]["delete / redis / other process"]["violation"]
    assert document["total"]["stale"] > 0
    assert violation["seed"] == 1
    assert any("STALE" in event for event in violation["events"])
