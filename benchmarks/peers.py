"""This cache beside the bare client and beside other caches: the same work, in turns, in one run.

Values are records of 1 KB. The bare client moves bytes that were encoded beforehand, and decodes nothing;
caches take and return records. Each round runs each contestant once, in an order that changes, without the
garbage collector; ratios are medians of the rounds' own ratios, so what slows the machine slows all of them.

    python -m benchmarks.peers --transport unix --rounds 9
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contestants import BATCH, Bare, Cell, Contestant, NotBuiltError, Stoker, contestants
from benchmarks.measuring import print_document, spread, tell
from benchmarks.servers import address, server

#: What is asked for of each measurement: times the bare client's rate, or microseconds.
CELLS: dict[str, Cell] = {
    "get, 1 caller": Cell("get", callers=1, at_least=1.5),
    "get, 50 callers": Cell("get", callers=50, at_least=7.0),
    f"get_many({BATCH})": Cell("get_many", callers=1, at_least=0.7),
    "set, 50 callers": Cell("set", callers=50, at_least=6.0),
    f"set_many({BATCH})": Cell("set_many", callers=1, at_least=2.0),
    "memory hit": Cell("memory", callers=1, at_most_us=1.0),
    "decorated hit, memory": Cell("decorated", callers=1, at_most_us=3.0),
}


@dataclass
class Row:
    """One contestant in one cell."""

    rates: list[float] = field(default_factory=list[float])
    """Operations (of batches: keys) a second, of each round."""
    busy: list[float] = field(default_factory=list[float])
    """Seconds of this process's own time that an operation took."""
    missing: str | None = None
    """Why there are none."""

    def report(self, bare: Row | None) -> dict[str, Any] | str:
        """Medians, and ratios to the bare client's."""
        if self.missing or not self.rates:
            return self.missing or "not measured"
        rate = statistics.median(self.rates)
        found: dict[str, Any] = {
            "per_second": round(rate),
            "microseconds": round(1e6 / rate, 3),
            "client_cpu_microseconds": round(1e6 * statistics.median(self.busy), 3),
            "spread": spread(self.rates),
        }
        if bare is not None and bare.rates:
            ratios = [mine / its for mine, its in zip(self.rates, bare.rates, strict=True)]
            found["times_bare"] = round(statistics.median(ratios), 2)
            saved = [its / mine for mine, its in zip(self.busy, bare.busy, strict=True)]
            found["times_bare_by_client_cpu"] = round(statistics.median(saved), 2)
        return found


async def run_cell(contestant: Contestant, cell: Cell, count: int, seed: int) -> tuple[float, float]:
    """Run a cell once; return operations (in batches: keys) a second, and this process's seconds for one."""
    work = await contestant.prepare(cell, count, random.Random(seed))
    gc.collect()
    gc.disable()
    try:
        began, busy = time.perf_counter(), time.process_time()
        if len(work) == 1:
            await work[0]()
        else:
            await asyncio.gather(*(part() for part in work))
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    finally:
        gc.enable()
    return count / seconds, busy / count


async def run_rounds(
    name: str, cell: Cell, entrants: Sequence[Contestant], options: argparse.Namespace
) -> dict[str, Row]:
    rows = {entrant.name: Row() for entrant in entrants}
    count = options.operations * (10 if cell.kind in {"memory", "decorated"} else 1)
    count = max(BATCH, count // BATCH * BATCH)
    for number in range(options.rounds + 1):
        order = list(entrants)
        random.Random(options.seed + number).shuffle(order)
        for entrant in order:
            row = rows[entrant.name]
            if row.missing:
                continue
            try:
                rate, busy = await run_cell(
                    entrant, cell, count // (4 if number == 0 else 1), options.seed + number
                )
            except NotBuiltError as error:
                row.missing = str(error)
                continue
            if number:  # the first round warms up
                row.rates.append(rate)
                row.busy.append(busy)
    tell(
        f"{name}: "
        + ", ".join(f"{who} {statistics.median(row.rates):.0f}/s" for who, row in rows.items() if row.rates)
    )
    return rows


@asynccontextmanager
async def opened(found: Sequence[Contestant], url: str) -> AsyncGenerator[list[Contestant], None]:
    """Connect all contestants that are installed."""
    async with AsyncExitStack() as stack:
        entrants: list[Contestant] = []
        for contestant in found:
            await contestant.open(url)
            stack.push_async_callback(contestant.close)
            entrants.append(contestant)
        yield entrants


async def run(options: argparse.Namespace) -> dict[str, Any]:
    report: dict[str, Any] = {}
    present, absent = contestants(with_peers=options.peers == "on")
    wanted = [name for name in CELLS if not options.cell or any(part in name for part in options.cell)]
    with server() as running:
        for transport in ("unix", "tcp") if options.transport == "both" else (options.transport,):
            async with opened(present, address(running, transport)) as entrants:
                for name in wanted:
                    cell = CELLS[name]
                    able = [entrant for entrant in entrants if cell.kind in entrant.kinds]
                    rows = await run_rounds(name, cell, able, options)
                    report[f"{name} ({transport})" if cell.at_least else name] = {
                        **wanted_of(cell, rows),
                        **{who: row.report(rows.get(Bare.name)) for who, row in rows.items()},
                        **dict.fromkeys(absent, "not installed"),
                    }
    return report


def wanted_of(cell: Cell, rows: dict[str, Row]) -> dict[str, Any]:
    """What is asked for, and whether it was met."""
    mine = rows[Stoker.name].report(rows.get(Bare.name))
    if isinstance(mine, str):
        return {"wanted": cell.wanted, "met": None}
    if cell.at_least is not None:
        return {"wanted": cell.wanted, "met": mine["times_bare"] >= cell.at_least}
    return {"wanted": cell.wanted, "met": mine["microseconds"] <= (cell.at_most_us or 0)}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="This cache beside the bare client and other caches"
    )
    options.add_argument("--transport", choices=["unix", "tcp", "both"], default="unix")
    options.add_argument("--rounds", type=int, default=7, help="of each cell (default: %(default)s)")
    options.add_argument(
        "--operations", type=int, default=10_000, help="of a round; ten times as many in memory"
    )
    options.add_argument("--cell", action="append", help="only cells whose name holds this; may be repeated")
    options.add_argument("--peers", choices=["on", "off"], default="on")
    options.add_argument("--seed", type=int, default=1, help="of keys and of the order")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    print_document(vars(options), {"cells": asyncio.run(run(options))})
    return 0


if __name__ == "__main__":
    sys.exit(main())
