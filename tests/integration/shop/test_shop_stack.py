"""The shop under the real `stoker up`: hot products are loaded ahead of readers, and no event is lost."""

from __future__ import annotations

import json

from benchmarks.replay import compare, parser, start_client
from benchmarks.stack import Settings, stack


def test_warming_and_events_work_end_to_end_and_survive_a_killed_worker() -> None:
    options = parser().parse_args(["--zipf", "1.2", "--rate", "150", "--seconds", "15", "--writes", "20"])
    with stack(Settings(ttl="3s", query_milliseconds=1)) as (running, _):
        client = start_client(options, running)
        is_back = running.kill("worker")
        output, _ = client.communicate(timeout=90)
        assert is_back()
    report = json.loads(output)

    assert client.returncode == 0, report["stale_examples"]
    assert report["errors"] == 0, report
    assert report["loads"]["warm"] > 0
    assert report["reads_judged"] == 2250
    assert report["stale_after_applied"] == 0
    assert report["writes"]["seen_in_log"] == report["writes"]["sent"] > 0


def test_a_comparison_is_of_shares_without_warming() -> None:
    off = {
        "hit_rate": 0.5,
        "expiry_misses": 200,
        "read_ms": {"p50": 1.0, "p99": 9.0},
        "loads": {"reader": 1000, "warm": 0},
        "stale_after_applied": 0,
    }
    on = {**off, "hit_rate": 0.6, "expiry_misses": 50, "loads": {"reader": 850, "warm": 200}}
    comparison = compare(off, on)

    assert comparison["expiry_misses_removed"] == 0.75
    assert comparison["extra_loads"] == 0.05
    assert compare({**off, "expiry_misses": 0, "loads": None}, on)["extra_loads"] is None
