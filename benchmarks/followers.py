"""How far behind the log processes are that serve from memory: many followers, steady invalidations.

Of each invalidation and each follower, the time from its acknowledgement until the follower has read the
record: from then on no hit in memory, and no bounded read, is answered with what was before.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import multiprocessing
import time
from multiprocessing.context import ForkProcess
from typing import Any

from tests.servers import RedisServer

from benchmarks.measuring import milliseconds, percentile
from benchmarks.servers import configuration
from stoker.core import CacheManager, Key
from stoker.core.log.position import parse_position, split_position

_FORK = multiprocessing.get_context("fork")

#: Processes that the followers are spread over.
PROCESSES = 4

#: Seconds between two looks at what the followers of a process have read.
LOOK_SECONDS = 0.001

#: Times after the last invalidation for which followers are waited for, in seconds.
PATIENCE_SECONDS = 5.0

#: Buckets of a tenth of a millisecond; the last holds all above.
BUCKETS = 20_000
BUCKET_SECONDS = 0.0001

_READY, _COUNT = range(2)
_HEAD = 8


class _Shared:
    """Acknowledgements by their number, and each process's lags in buckets."""

    def __init__(self, records: int) -> None:
        self.records = records
        size = _HEAD + 3 * records + PROCESSES * BUCKETS
        self.at = memoryview(mmap.mmap(-1, size * 8)).cast("q")

    def acknowledge(self, number: int, log_id: str) -> None:
        """Note a record's place in the log, and that it was acknowledged now."""
        place = _HEAD + 3 * number
        self.at[place + 2] = time.monotonic_ns()
        self.at[place], self.at[place + 1] = split_position(parse_position(log_id))
        self.at[_COUNT] = number + 1

    def record(self, number: int) -> tuple[int, int]:
        """Position and time of an acknowledgement."""
        place = _HEAD + 3 * number
        return self.at[place] << 64 | self.at[place + 1], self.at[place + 2]

    def note(self, process: int, seconds: float) -> None:
        """Count a lag."""
        bucket = min(int(max(0.0, seconds) / BUCKET_SECONDS), BUCKETS - 1)
        self.at[_HEAD + 3 * self.records + process * BUCKETS + bucket] += 1

    def lags(self) -> list[float]:
        """All lags, in seconds, to the bucket."""
        found: list[float] = []
        start = _HEAD + 3 * self.records
        for bucket in range(BUCKETS):
            count = sum(self.at[start + process * BUCKETS + bucket] for process in range(PROCESSES))
            found += [(bucket + 1) * BUCKET_SECONDS] * count
        return found


def _config(server: RedisServer) -> Any:
    return configuration(server.url, {"item": {"tiers": ["memory", "redis"]}}, timeout=5.0)


async def _follow(server: RedisServer, shared: _Shared, process: int, count: int) -> None:
    managers = [
        CacheManager(_config(server), process=f"{process}-{n}", recording=False) for n in range(count)
    ]
    for manager in managers:
        await manager.connect()
    done = [0] * count
    shared.at[_READY] += count  # processes are started one after the other
    end = time.monotonic() + 3600
    while min(done) < shared.records and time.monotonic() < end:
        await asyncio.sleep(LOOK_SECONDS)
        known, now = shared.at[_COUNT], time.monotonic_ns()
        if known == shared.records and end - time.monotonic() > PATIENCE_SECONDS:
            end = time.monotonic() + PATIENCE_SECONDS
        for at, manager in enumerate(managers):
            seen = manager.log.seen
            while done[at] < known:
                position, acknowledged = shared.record(done[at])
                if position > seen:
                    break
                shared.note(process, (now - acknowledged) / 1e9)
                done[at] += 1
    for manager in managers:
        await manager.close(0.1)


async def _invalidate(server: RedisServer, shared: _Shared, rate: float) -> float:
    """Invalidate at a steady rate; return the seconds of the server's own time that it took."""
    async with CacheManager(_config(server), process="writer", recording=False) as manager:
        before = await _busy(manager)
        began = time.monotonic()
        for number in range(shared.records):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            receipt = await manager.invalidate(Key("item", str(number % 100)))
            if receipt.log_id is None:
                raise RuntimeError("the server did not take an invalidation")
            shared.acknowledge(number, receipt.log_id)
        return (await _busy(manager) - before) / (time.monotonic() - began)


async def _busy(manager: CacheManager) -> float:
    text: bytes = await manager.link.call("INFO", "cpu")
    found = dict(line.split(":") for line in text.decode().splitlines() if ":" in line)
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def measure_followers(count: int, rate: float, seconds: float) -> dict[str, Any]:
    """Lags of so many followers, while so many records a second come."""
    logging.getLogger("stoker").setLevel(logging.ERROR)
    server = RedisServer().start()
    shared = _Shared(max(1, int(rate * seconds)))
    processes: list[ForkProcess] = []
    try:
        for number in range(PROCESSES):
            share = count // PROCESSES + (number < count % PROCESSES)
            processes.append(_FORK.Process(target=_run_followers, args=(server, shared, number, share)))
            ready = shared.at[_READY] + share
            processes[-1].start()
            while shared.at[_READY] < ready:
                time.sleep(0.01)
        used = asyncio.run(_invalidate(server, shared, rate))
        for process in processes:
            process.join(PATIENCE_SECONDS * 2)
    finally:
        for process in processes:
            process.kill()
        server.stop()
    lags = shared.lags()
    return {
        "followers": count,
        "records_per_second": rate,
        "records": shared.records,
        "lags": len(lags),
        "never_read": count * shared.records - len(lags),
        "lag_ms": {f"p{100 * share:g}": milliseconds(percentile(lags, share)) for share in (0.5, 0.99, 1.0)},
        "server_cores": round(used, 3),
        "wanted": "p99 <= 20 ms",
    }


def _run_followers(server: RedisServer, shared: _Shared, process: int, count: int) -> None:
    asyncio.run(_follow(server, shared, process, count))
