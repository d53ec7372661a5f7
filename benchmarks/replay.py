"""What warming is worth: a trace replayed against the shop under `stoker up`, with and without it.

Each run has a server, a database and a folder of its own. Prints one JSON document; progress goes to stderr:

    python -m benchmarks.replay --trace FILE.trace.xz --rate 300 --ttl 30s
    python -m benchmarks.replay --trace FILE.trace.xz --writes 50 --warming on --kill worker
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.stack import ROOT, Settings, Stack, stack, wait_for

#: Options that are handed on to the replay client.
PASSED_ON = ("trace", "keys", "zipf", "rate", "requests", "seconds", "writes", "warmup", "seed")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.replay",
        description="Replay a trace against the shop under `stoker up`, with and without warming",
    )
    options.add_argument("--trace", help="xz file of one little-endian 32-bit key for each request")
    options.add_argument("--keys", help="text file of keys, one a line")
    options.add_argument("--zipf", type=float, help="make requests up, with this skew")
    options.add_argument("--rate", type=float, default=300, help="requests a second (default: %(default)s)")
    options.add_argument("--requests", type=int, help="how many (default: the whole trace)")
    options.add_argument("--seconds", type=float, help="how long at most")
    options.add_argument("--writes", type=float, help="price changes a second (default: none)")
    options.add_argument("--warmup", type=float, help="seconds at the start that are not counted")
    options.add_argument("--seed", type=int, help="of what is left to chance")
    options.add_argument("--ttl", default="30s", help="of the shop's entries (default: %(default)s)")
    options.add_argument(
        "--query-ms", type=float, default=5.0, help="what a load costs (default: %(default)s)"
    )
    options.add_argument("--min-requests", type=float, help="warm what is asked for so often within a TTL")
    options.add_argument("--warming", choices=["on", "off", "both"], default="both")
    options.add_argument("--kill", choices=["worker", "beat", "server"], help="kill -9 it during the replay")
    options.add_argument(
        "--kill-after", type=float, default=15.0, help="seconds into it (default: %(default)s)"
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    warming = {"on": [True], "off": [False], "both": [False, True]}[options.warming]
    runs = {f"warming_{'on' if on else 'off'}": run(options, warming=on) for on in warming}
    document: dict[str, Any] = {
        "options": {name: value for name, value in vars(options).items() if value is not None},
        "machine": {"processors": os.cpu_count(), "python": platform.python_version()},
        "runs": runs,
    }
    if len(runs) == 2:
        document["comparison"] = compare(runs["warming_off"], runs["warming_on"])
    print(json.dumps(document, indent=2))
    return 1 if any(run["stale_after_applied"] for run in runs.values()) else 0


def run(options: argparse.Namespace, *, warming: bool) -> dict[str, Any]:
    """One replay against a stack of its own; the client's report, with what was seen from outside."""
    sys.stderr.write(f"warming {'on' if warming else 'off'}\n")
    settings = Settings(options.ttl, warming, options.query_ms, min_requests=options.min_requests)
    with stack(settings) as (running, ready_seconds):
        client = start_client(options, running)
        recovery = kill(running, options) if options.kill else None
        output, _ = client.communicate()
        if client.returncode not in (0, 1):
            raise RuntimeError(f"the replay client ended with status {client.returncode}")
        report: dict[str, Any] = json.loads(output)
    report["ready_seconds"] = round(ready_seconds, 2)
    if recovery:
        report["recovery"] = recovery
    return report


def start_client(options: argparse.Namespace, running: Stack) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "examples.shop.replay", "--url", running.shop, "--json"]
    for name in PASSED_ON:
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name}", str(value)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill(running: Stack, options: argparse.Namespace) -> dict[str, Any]:
    """Kill a component in the middle, and time its way back."""
    time.sleep(options.kill_after)
    last_run = running.last_warm_run()
    is_back = running.kill(options.kill)
    killed = time.monotonic()
    # A run that began just before the kill is none after it; a killed server can't tell.
    last_run = running.last_warm_run() or last_run
    seconds: dict[str, float | None] = {}

    def next_warm_run() -> bool:
        found = running.last_warm_run()
        return found is not None and found != last_run

    def watch(name: str, predicate: Any) -> None:
        try:
            wait_for(predicate, name)
            seconds[name] = round(time.monotonic() - killed, 2)
        except RuntimeError:
            seconds[name] = None

    watchers = [threading.Thread(target=watch, args=("ready_again_seconds", is_back))]
    if options.warming != "off":
        watchers.append(threading.Thread(target=watch, args=("next_warm_run_seconds", next_warm_run)))
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    return {"killed": options.kill, "after_seconds": options.kill_after, **seconds}


def compare(off: dict[str, Any], on: dict[str, Any]) -> dict[str, Any]:
    """What warming changed; shares are of the figure without it."""
    loads_off, loads_on = total_loads(off), total_loads(on)
    return {
        "hit_rate": [off["hit_rate"], on["hit_rate"]],
        "expiry_misses": [off["expiry_misses"], on["expiry_misses"]],
        "expiry_misses_removed": share(off["expiry_misses"] - on["expiry_misses"], off["expiry_misses"]),
        "read_p50_ms": [off["read_ms"]["p50"], on["read_ms"]["p50"]],
        "read_p99_ms": [off["read_ms"]["p99"], on["read_ms"]["p99"]],
        "loads": [loads_off, loads_on],
        "extra_loads": share(loads_on - loads_off, loads_off),
        "stale_after_applied": [off["stale_after_applied"], on["stale_after_applied"]],
    }


def total_loads(run: dict[str, Any]) -> int:
    loads: dict[str, int] = run["loads"] or {}
    return sum(loads.values())


def share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None


if __name__ == "__main__":
    sys.exit(main())
