"""A cold key that many callers in many processes want at once; a loader that is killed; what a hit costs.

Processes are told to read one key at the same moment. Loads are counted by the loaders themselves, commands
by the server (`INFO commandstats`, what scripts call included), from when all processes are connected and
have read another key once until all callers are answered. Counting of hot keys, which goes on in the
background, is off. Then the process that loads is killed with SIGKILL while the others wait for it.

    python -m benchmarks.stampede --processes 8 --callers 50 --load-seconds 0.5
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers import RedisServer

from benchmarks.herds import CACHES, Stoker
from benchmarks.measuring import print_document, tell, version
from benchmarks.servers import server

ROOT = Path(__file__).resolve().parents[1]

#: Seconds until the processes begin together: all must have been told by then.
HEAD_START_SECONDS = 0.5

#: Seconds that the load which is killed would take.
LONG_LOAD_SECONDS = 60.0

#: Seconds after a kill after which no new load is expected any more.
PATIENCE_SECONDS = 45.0


class Process:
    """A child with callers in it."""

    def __init__(self, cache: str, url: str) -> None:
        command = [sys.executable, "-m", "benchmarks.herds", cache, url]
        self.child = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.loads: list[float] = []
        """When its loaders began, by `time.monotonic`, since it was last told something."""
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            answer = json.loads(line)
            if "loading" in answer:
                self.loads.append(answer["loading"])
            else:
                self._lines.put(answer)

    def tell(self, **what: Any) -> None:
        """Ask for something; `wait` gets the answer."""
        assert self.child.stdin is not None
        self.loads = []
        self.child.stdin.write(json.dumps(what) + "\n")
        self.child.stdin.flush()

    def wait(self, kind: str, timeout: float = 120.0) -> Any:
        """Return the answer of a kind that comes next.

        Raises:
            queue.Empty: There is none in time.
        """
        return self._lines.get(timeout=timeout)[kind]

    def wait_for_load(self, timeout: float = 30.0) -> bool:
        """Wait until a loader has begun; say whether one has."""
        end = time.monotonic() + timeout
        while not self.loads and time.monotonic() < end:
            time.sleep(0.001)
        return bool(self.loads)

    def close(self) -> None:
        """End it, whatever it does."""
        self.child.kill()
        self.child.wait()


def commands(running: RedisServer) -> dict[str, int]:
    """How often the server has run each command."""
    client = running.client()
    stats: dict[str, Any] = client.info("commandstats")
    client.close()
    counts = {name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in stats.items()}
    counts.pop("info", None)
    return counts


def spent(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was run between, most often first."""
    found = {name: calls - before.get(name, 0) for name, calls in after.items()}
    return dict(sorted(((n, c) for n, c in found.items() if c), key=lambda pair: -pair[1]))


def cold(
    running: RedisServer, herd: Sequence[Process], options: argparse.Namespace, number: int
) -> dict[str, Any]:
    """All callers of all processes want a key that is not there."""
    before = commands(running)
    at = time.monotonic() + HEAD_START_SECONDS
    for process in herd:
        process.tell(
            do="herd", key=f"cold{number}", callers=options.callers, seconds=options.load_seconds, at=at
        )
    answers = [process.wait("done") for process in herd]
    run = spent(before, commands(running))
    return {
        "loads": sum(len(answer["loads"]) for answer in answers),
        "commands": sum(run.values()),
        "by_command": run,
        "slowest_caller_seconds": round(max(answer["slowest"] for answer in answers), 3),
    }


def killed(herd: Sequence[Process], options: argparse.Namespace) -> dict[str, Any]:
    """The process that loads is killed while the others wait for it."""
    victim, *others = herd
    victim.tell(do="herd", key="killed", callers=1, seconds=LONG_LOAD_SECONDS, at=0.0)
    victim.wait_for_load()
    for process in others:
        process.tell(do="herd", key="killed", callers=options.callers, seconds=options.load_seconds, at=0.0)
    time.sleep(options.kill_after)
    victim.child.kill()
    at = time.monotonic()
    while time.monotonic() < at + PATIENCE_SECONDS and not any(process.loads for process in others):
        time.sleep(0.001)
    loads = [load for process in others for load in process.loads]
    if not loads:
        return {"new_load_after_seconds": None, "given_up_after_seconds": PATIENCE_SECONDS}
    found: dict[str, Any] = {"new_load_after_seconds": round(min(loads) - at, 3)}
    try:
        answers = [process.wait("done", PATIENCE_SECONDS) for process in others]
    except queue.Empty:
        return found | {"callers_left_after_seconds": PATIENCE_SECONDS}
    return found | {
        "loads": sum(len(answer["loads"]) for answer in answers),
        "last_caller_after_seconds": round(
            max(answer["slowest"] for answer in answers) - options.kill_after, 3
        ),
    }


def hits(running: RedisServer, process: Process, count: int) -> dict[str, Any]:
    """One caller reads a key that is there."""
    process.tell(do="hits", key="hits", count=1)
    process.wait("done")
    before = commands(running)
    process.tell(do="hits", key="hits", count=count)
    process.wait("done")
    run = spent(before, commands(running))
    return {"hits": count, "by_command": run, "commands_a_hit": round(sum(run.values()) / count, 3)}


def measure(cache: str, options: argparse.Namespace) -> dict[str, Any]:
    distribution = CACHES[cache].distribution
    found: dict[str, Any] = {"version": version(distribution)} if distribution else {}
    with server() as running:
        herd = [Process(cache, running.url) for _ in range(options.processes)]
        try:
            for process in herd:
                process.wait("ready")
            for process in herd:
                process.tell(do="hits", key="warm", count=1)
                process.wait("done")
            found["cold"] = [cold(running, herd, options, number) for number in range(options.rounds)]
            tell(f"{cache} cold: {[(run['loads'], run['commands']) for run in found['cold']]}")
            found["hits"] = hits(running, herd[-1], options.hits)
            found["killed"] = killed(herd, options)
            tell(f"{cache} killed: {found['killed']}")
        finally:
            for process in herd:
                process.close()
    return found


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--processes", type=int, default=8)
    options.add_argument("--callers", type=int, default=50, help="in each process")
    options.add_argument("--load-seconds", type=float, default=0.5, help="what a load takes")
    options.add_argument("--rounds", type=int, default=3, help="cold keys, one after the other")
    options.add_argument("--hits", type=int, default=1000)
    options.add_argument("--kill-after", type=float, default=1.0, help="seconds into the load")
    options.add_argument("--peers", choices=["on", "off"], default="on")
    return options


def main() -> None:
    options = parser().parse_args()
    caches = CACHES if options.peers == "on" else {Stoker.name: Stoker}
    measured = {
        name: measure(name, options) if kind.installed() else "not installed" for name, kind in caches.items()
    }
    print_document(vars(options), measured)


if __name__ == "__main__":
    main()
