"""Whether what was invalidated is ever served: random interleavings against real servers, each read judged.

Processes read and change the same keys through the cache, in every way that it can be invalidated, while
entries are evicted, records come twice, connections are cut, the log is swept, processes are killed with
SIGKILL, and servers restart from snapshots or fail over. Strict reads must be as new as anything acknowledged
before they began; reads from memory as new as anything acknowledged longer ago than the type's bound.

    python -m benchmarks.freshness --reads 1000000
    python -m benchmarks.freshness --only "tag / redis" --break born-at-the-end
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from tests.clusters import ClusterServers
from tests.servers import RedisServer

from benchmarks.actors import Part, act
from benchmarks.board import TALLIES, Board
from benchmarks.breaking import RULES
from benchmarks.disasters import Disaster, disaster_for
from benchmarks.followers import measure_followers
from benchmarks.measuring import print_document, tell
from benchmarks.mishaps import keep
from benchmarks.scenarios import TIERS, Cell, cells
from benchmarks.servers import configuration
from stoker.core import CacheConfig, CacheManager
from stoker.core.linking import make_keys

_FORK = multiprocessing.get_context("fork")

#: Kills, or disasters, that a cell sees at least, however fast its reads are.
STRIKES = 2

#: Seconds for processes to end when asked.
PATIENCE_SECONDS = 10.0

KEYS = 96


class Run:
    """One cell, with its processes."""

    def __init__(
        self,
        cell: Cell,
        options: argparse.Namespace,
        config: CacheConfig,
        servers: RedisServer | ClusterServers,
    ) -> None:
        self.cell = cell
        self._options = options
        self._config = config
        self._servers = servers
        self._seed = zlib.crc32(f"{options.seed} {cell.name}".encode())
        self._chance = random.Random(self._seed)
        self._board = Board(KEYS)
        self._processes: list[ForkProcess] = []
        self._count = 1 if cell.where == "same process" else options.processes
        self._killed = 0
        self._begun = 0

    def go(self, folder: Path) -> dict[str, Any]:
        """Run until enough reads were checked, or a stale one was found."""
        began = time.monotonic()
        keys = make_keys(self._config)
        disaster = disaster_for(self.cell, self._servers, keys, KEYS, self._chance)
        self._processes = [self._start(act, slot, folder) for slot in range(self._count)]
        keeper = self._start(keep, self._count, folder)
        try:
            self._watch(folder, began + self._options.seconds, disaster)
        finally:
            self._board.stop()
            self._end([*self._processes, keeper])
            if disaster is not None:
                disaster.close()
        report: dict[str, Any] = {name: self._board.counted(name) for name in TALLIES}
        report = {name: count for name, count in report.items() if count or name in {"checked", "stale"}}
        report["seconds"] = round(time.monotonic() - began, 1)
        report["killed"] = self._killed
        if disaster is not None:
            report[disaster.name] = disaster.count
        if self.cell.bounded and self._board.lags():
            report["lags"] = self._board.lags()
        if (folder / "error.txt").exists():
            report["an_error"] = (folder / "error.txt").read_text(encoding="utf-8")
        if self._board.found is not None:
            report["violation"] = self._violation(folder)
        return report

    def _watch(self, folder: Path, end: float, disaster: Disaster | None) -> None:
        """Kill and strike at random, until enough was seen."""
        due = time.monotonic() + 0.5
        while time.monotonic() < end and not self._seen_enough(disaster):
            time.sleep(0.02)
            if self._board.found is not None:
                time.sleep(0.3)  # all tell what they know
                return
            for slot, process in enumerate(self._processes):
                if not process.is_alive():
                    raise RuntimeError(
                        f"process {slot} of {self.cell.name} ended by itself: {process.exitcode}"
                    )
            if time.monotonic() < due:
                continue
            due = time.monotonic() + 0.3 + 0.6 * self._chance.random()
            if disaster is not None:
                disaster.strike()
            if self._count > 1:
                self._kill(self._chance.randrange(self._count), folder)

    def _seen_enough(self, disaster: Disaster | None) -> bool:
        struck = self._killed if disaster is None else disaster.count
        calm = self._count == 1 and disaster is None
        enough = self._board.counted("checked") >= self._options.reads_of_a_cell
        return enough and (calm or struck >= STRIKES)

    def _kill(self, slot: int, folder: Path) -> None:
        process = self._processes[slot]
        if process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        self._killed += 1
        self._processes[slot] = self._start(act, slot, folder)

    def _start(self, main: Callable[[Part, Board], None], slot: int, folder: Path) -> ForkProcess:
        self._begun += 1
        part = Part(
            cell=self.cell,
            config=self._config,
            slot=slot,
            processes=self._count,
            seed=self._seed + self._begun,
            readers=self._options.readers,
            folder=folder,
            broken=self._options.broken if main is act else None,
            hole_allowed=hole_allowed(self.cell, self._options),
        )
        process = _FORK.Process(target=_quietly, args=(main, part, self._board), daemon=True)
        process.start()
        return process

    @staticmethod
    def _end(processes: Sequence[ForkProcess]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        for process in processes:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _violation(self, folder: Path) -> dict[str, Any]:
        """What is needed to look into a stale read: the seed, and all that happened to the key."""
        events: list[Any] = []
        for path in sorted(folder.glob("*.json")):
            with contextlib.suppress(ValueError):
                events += json.loads(path.read_text(encoding="utf-8"))
        events.sort()
        stale = next((at for at, event in enumerate(events) if "STALE" in event[1]), len(events))
        shown = events[max(0, stale - 60) : stale + 5]
        first = shown[0][0] if shown else 0
        return {
            "seed": self._options.seed,
            "key": self._board.found,
            "events": [
                f"{(at - first) / 1e6:10.3f} ms  process {what}: {detail}" for at, what, _, detail in shown
            ],
        }


def hole_allowed(cell: Cell, options: argparse.Namespace) -> bool:
    """Whether stale reads are what the options ask for, and so are only counted."""
    rolled_back = options.after_rollback != "dead" and cell.scenario.disaster is not None
    return rolled_back or (cell.bounded and options.on_outage != "bypass")


def _quietly(main: Callable[[Part, Board], None], part: Part, board: Board) -> None:
    # Processes and servers die all the time: what the cache says of that is not what is measured.
    logging.getLogger("stoker").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(part, board)


class Servers:
    """The servers of a whole run: what cells share, and what those have of their own that kill servers."""

    def __init__(self) -> None:
        self._server: RedisServer | None = None
        self._cluster: ClusterServers | None = None

    @contextmanager
    def of(self, cell: Cell) -> Generator[RedisServer | ClusterServers, None, None]:
        """The empty server, or cluster, of a cell."""
        if cell.scenario.disaster:
            replicas = 1 if cell.scenario.disaster == "failover" else 0
            own = ClusterServers(replicas=replicas) if cell.where == "cluster" else RedisServer()
            try:
                yield own.start()
            finally:
                own.stop()
        elif cell.where == "cluster":
            self._cluster = self._cluster or ClusterServers().start()
            self._cluster.clear()
            yield self._cluster
        else:
            self._server = self._server or RedisServer().start()
            with self._server.client() as client:
                client.flushall()
            yield self._server

    def close(self) -> None:
        """End all of them."""
        for servers in (self._server, self._cluster):
            if servers is not None:
                servers.stop()


def config_of(cell: Cell, url: str, options: argparse.Namespace) -> CacheConfig:
    policy: dict[str, Any] = {
        "ttl": 60.0,
        "after_rollback": options.after_rollback,
        "tiers": TIERS[cell.tier],
        "memory_bound": options.bound,
        **cell.scenario.policy,
    }
    if cell.bounded:
        policy["on_outage"] = options.on_outage
    prefix = f"f{zlib.crc32(cell.name.encode()):08x}"
    patience = {} if cell.scenario.disaster else {"timeout": 2.0}
    return configuration(url, {"item": policy}, prefix=prefix, **patience)


def missing_for(cell: Cell) -> str | None:
    """Why a cell can't be run yet."""
    if cell.bounded and not hasattr(CacheManager(), "memory"):
        return "not built yet: memory tier"
    lacking = [name for name in cell.scenario.needs if not hasattr(CacheManager, name)]
    return f"not built yet: {', '.join(lacking)}" if lacking else None


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """All cells, one after the other."""
    wanted = [cell for cell in cells(options.only) if missing_for(cell) is None]
    report: dict[str, Any] = {cell.name: missing_for(cell) for cell in cells(options.only)}
    options.reads_of_a_cell = max(1, options.reads // max(1, len(wanted)))
    servers = Servers()
    try:
        for cell in wanted:
            with servers.of(cell) as own, tempfile.TemporaryDirectory(prefix="stoker-fresh-") as name:
                run = Run(cell, options, config_of(cell, own.url, options), own)
                found = report[cell.name] = run.go(Path(name))
            tell(f"{cell.name}: {found['checked']} checked, {found['stale']} stale, {found['seconds']} s")
            for line in found.get("violation", {}).get("events", ()):
                tell(line)
    finally:
        servers.close()
    return report


def found_stale(report: dict[str, Any], options: argparse.Namespace) -> bool:
    """Whether a read was stale that may not be."""
    return any(
        report[cell.name]["stale"]
        for cell in cells(options.only)
        if not isinstance(report[cell.name], str) and not hole_allowed(cell, options)
    )


def total(report: dict[str, Any]) -> dict[str, int]:
    """Sums over all cells that were run."""
    ran: list[dict[str, Any]] = [cell for cell in report.values() if not isinstance(cell, str)]
    return {name: sum(int(cell.get(name, 0)) for cell in ran) for name in (*TALLIES, "killed")}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.freshness", description="Whether what was invalidated is ever served"
    )
    options.add_argument("--reads", type=int, default=1_000_000, help="checked reads, of all cells together")
    options.add_argument("--seconds", type=float, default=60.0, help="of one cell at most")
    options.add_argument("--only", action="append", help="cells whose name holds this; may be repeated")
    options.add_argument("--processes", type=int, default=3, help="where there are several (default: 3)")
    options.add_argument("--readers", type=int, default=24, help="tasks that read in each process")
    options.add_argument("--bound", type=float, default=0.25, help="seconds that memory may be behind")
    options.add_argument("--after-rollback", choices=["dead", "revalidate"], default="dead")
    options.add_argument(
        "--on-outage", default="bypass", help="of memory tiers: seconds they serve without their server"
    )
    options.add_argument("--followers", type=int, default=100, help="whose lag is measured; 0: none is")
    options.add_argument("--records-per-second", type=float, default=50.0, help="that they follow")
    options.add_argument("--lag-seconds", type=float, default=10.0, help="for so long")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--break", dest="broken", choices=sorted(RULES), help="break a rule of the protocol")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    report = run_all(options)
    sums = total(report)
    chosen = {name: value for name, value in vars(options).items() if value is not None}
    parts: dict[str, Any] = {"total": sums, "cells": report}
    if options.followers:
        parts["lag"] = measure_followers(options.followers, options.records_per_second, options.lag_seconds)
    print_document(chosen, parts)
    return 1 if found_stale(report, options) else 0


if __name__ == "__main__":
    sys.exit(main())
