"""What a call costs a thread without an event loop, beside redis-py's own client for threads.

Each round times both by turns: reads of one record from the server, hits in memory, hits of a decorated
function. Figures are microseconds a call, medians over the rounds.

    python -m benchmarks.sync_calls --rounds 7
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from benchmarks.measuring import print_document, spread
from benchmarks.servers import address, configuration, server
from benchmarks.values import value_of
from stoker.core import SyncCacheManager, cached

VALUE_BYTES = 1_024


def timed(work: Callable[[], object], calls: int, threads: int) -> float:
    """Microseconds a call takes a thread, while so many of them call."""

    def repeat() -> None:
        for _ in range(calls):
            work()

    workers = [threading.Thread(target=repeat) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return (time.perf_counter() - began) / calls / threads * 1e6


def run(options: argparse.Namespace) -> dict[str, object]:
    types: dict[str, dict[str, Any]] = {
        "item": {"ttl": 3600.0},
        "near": {"ttl": 3600.0, "tiers": ["memory", "redis"]},
    }
    record = value_of(VALUE_BYTES, 1)
    with server() as running:
        url = address(running, options.transport)
        bare = redis.Redis.from_url(url)
        bare.set("bare", b"x" * VALUE_BYTES)
        with SyncCacheManager(configuration(url, types, timeout=5.0)) as cache:
            cache.set("item", "k", record)
            cache.set("near", "k", record)

            @cached(cache, "records", cache_type="near")
            def find(number: int) -> object:
                return record if number else None

            contestants: dict[str, Callable[[], object]] = {
                "redis-py, get": lambda: bare.get("bare"),
                "get": lambda: cache.get("item", "k"),
                "get, in memory": lambda: cache.get("near", "k"),
                "decorated, in memory": lambda: find(1),
            }
            found: dict[str, list[float]] = {name: [] for name in contestants}
            for _ in range(options.rounds + 1):
                for name, work in contestants.items():
                    found[name].append(timed(work, options.calls, options.threads))
        bare.close()
    return {
        name: {"microseconds": round(statistics.median(took[1:]), 1), "spread": spread(took[1:])}
        for name, took in found.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sync_calls", description=__doc__)
    parser.add_argument("--transport", choices=["unix", "tcp"], default="tcp")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=2_000, help="of each thread in a round")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    print_document(vars(options), run(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
