"""Walks a request trace against the shop, and tells what its clients saw.

Requests leave when they are due, whether or not earlier ones were answered, and a read's time counts from the
moment it was due: a shop that stands still makes all waiting requests slow, not only one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from examples.shop.replayer import Plan, Replay, ReplayError
from examples.shop.report import table
from examples.shop.trace import read_keys, read_trace, to_products, zipf


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m examples.shop.replay", description=__doc__)
    source = options.add_mutually_exclusive_group()
    source.add_argument("--trace", type=Path, help="xz file of one little-endian 32-bit key for each request")
    source.add_argument("--keys", type=Path, help="text file of keys, one a line")
    source.add_argument(
        "--zipf", type=float, default=0.9, metavar="SKEW", help="make requests up (default: 0.9)"
    )
    options.add_argument("--url", default="http://127.0.0.1:8000", help="the shop (default: %(default)s)")
    options.add_argument("--rate", type=float, default=300, help="requests a second (default: %(default)s)")
    options.add_argument("--requests", type=int, help="how many, warm-up included (default: the whole trace)")
    options.add_argument("--seconds", type=float, help="how long at most, warm-up included")
    options.add_argument("--writes", type=float, default=0, help="price changes a second (default: none)")
    options.add_argument("--warmup", type=float, default=0, help="seconds at the start that are not counted")
    options.add_argument(
        "--connections", type=int, default=128, help="requests under way at once (default: 128)"
    )
    options.add_argument(
        "--timeout", type=float, default=5, help="seconds until a request is given up (default: %(default)s)"
    )
    options.add_argument("--redis", help="the server with the invalidation log (default: ask the shop)")
    options.add_argument("--seed", type=int, default=1, help="of what is left to chance (default: 1)")
    options.add_argument("--endless", action="store_true", help="go on until stopped; progress only")
    options.add_argument("--json", action="store_true", help="report as JSON")
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options ask for."""
    products: Iterator[int]
    if options.trace:
        products = to_products(read_trace(options.trace))
    elif options.keys:
        products = to_products(read_keys(options.keys))
    else:
        products = zipf(options.zipf, seed=options.seed)
    requests = options.requests
    if (
        requests is None
        and options.seconds is None
        and not (options.trace or options.keys or options.endless)
    ):
        requests = 10_000
    return Plan(
        url=options.url,
        products=itertools.islice(products, requests),
        rate=options.rate,
        seconds=options.seconds,
        writes=options.writes,
        warmup=options.warmup,
        redis=options.redis,
        connections=options.connections,
        timeout=options.timeout,
        endless=options.endless,
        seed=options.seed,
    )


async def replay(plan: Plan) -> dict[str, Any]:
    """Run a plan until it is done or a signal asks to end it."""
    run = Replay(plan)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, run.stopping.set)
    return await run.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 1 when a read was stale after its event had been applied."""
    options = parser().parse_args(arguments)
    try:
        report = asyncio.run(replay(plan_of(options)))
    except ReplayError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    print(json.dumps(report, indent=2) if options.json else table(report))
    return 1 if report["stale_after_applied"] else 0


if __name__ == "__main__":
    sys.exit(main())
