"""What it costs to invalidate a tag that very many entries carry, and who notices.

The entries are stored; a bare client in a process of its own reads one key all the while. Then the tag is
invalidated, sampled entries are read (all must miss), and the sweeper gives the memory back. Other caches do
the same job with what they have for it.

    python -m benchmarks.invalidate --entries 100000 --entries 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.servers import RedisServer

from benchmarks.measuring import milliseconds, percentile, print_document, tell
from benchmarks.peer_caches import PEERS, PeerCache
from benchmarks.servers import address, configuration, server
from stoker.core import CacheConfig, CacheManager, Tag
from stoker.core.entries.entry import Entry, pack_entry
from stoker.core.maintenance.sweep import sweep

_FORK = multiprocessing.get_context("fork")

TAG = "everywhere"

#: Entries stored with one write.
FILL_BATCH = 2_000

#: Callers that fill another cache: pools of connections end at 100.
PEER_CALLERS = 50

#: Commands that one invalidation may take, and its milliseconds.
MAX_COMMANDS = 2
MAX_MILLISECONDS = 5.0

#: What the bare client reads beside.
BYSTANDER = "bystander"

#: Reads between two looks at whether the phase has changed are far apart enough to leave the server alone.
PROBE_PAUSE_SECONDS = 0.0005


class Probe:
    """A bare client in a process of its own, that times its GETs by phases."""

    def __init__(self, running: RedisServer) -> None:
        self._running = running
        self._phase = _FORK.Value("i", 0)
        self._queue: Any = _FORK.Queue()
        self._process = _FORK.Process(target=self._read, daemon=True)

    def start(self) -> None:
        """Begin to read, in phase 0."""
        self._running.client().set(BYSTANDER, b"x" * 1024)
        self._process.start()

    def enter(self, phase: int) -> None:
        """What is read from now on counts for another phase."""
        self._phase.value = phase

    def stop(self) -> dict[int, list[float]]:
        """End; seconds of each GET by phase."""
        self._phase.value = -1
        found: dict[int, list[float]] = self._queue.get(timeout=20)
        self._process.join()
        return found

    def _read(self) -> None:
        client, found = self._running.client(), dict[int, list[float]]()
        while (phase := self._phase.value) >= 0:
            began = time.perf_counter()
            client.get(BYSTANDER)
            found.setdefault(phase, []).append(time.perf_counter() - began)
            time.sleep(PROBE_PAUSE_SECONDS)
        self._queue.put(found)


BEFORE, DURING, AFTER, SWEEPING = range(4)


def worst(seconds: Sequence[float]) -> dict[str, Any]:
    """What a reader beside noticed."""
    return {
        "gets": len(seconds),
        "p50": milliseconds(percentile(seconds, 0.5), 3),
        "p99": milliseconds(percentile(seconds, 0.99), 3),
        "worst": milliseconds(max(seconds, default=None), 3),
    }


def key_of(number: int) -> str:
    return f"entry-{number}"


async def fill(manager: CacheManager, count: int, size: int) -> None:
    """Store entries in their own form, as loads that began now would, but without a loader for each."""
    log = manager.log
    await log.catch_up()
    now = int(time.time() * 1000)
    entry = Entry(log.epoch, log.seen, now, now + 3_600_000, 0, (TAG.encode(),), _payload(size))
    stored = pack_entry(entry)
    for start in range(0, count, FILL_BATCH):
        await manager.link.calls(
            [
                ("SET", manager.keys.entry("item", key_of(number)), stored, "PX", 3_600_000)
                for number in range(start, min(start + FILL_BATCH, count))
            ]
        )


def _payload(size: int) -> bytes:
    return b"\xda" + size.to_bytes(2) + b"x" * size


async def commands(manager: CacheManager) -> int:
    """Commands that the server has carried out, but for this question itself."""
    return int((await _info(manager, "stats"))["total_commands_processed"])


async def memory(manager: CacheManager) -> int:
    return int((await _info(manager, "memory"))["used_memory"])


async def _info(manager: CacheManager, section: str) -> dict[str, str]:
    text: bytes = await manager.link.call("INFO", section)
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


@asynccontextmanager
async def connected(config: CacheConfig) -> AsyncGenerator[CacheManager, None]:
    manager = CacheManager(config, recording=False)
    await manager.connect()
    try:
        yield manager
    finally:
        await manager.close()


async def measure(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """Fill, invalidate, read, sweep."""
    with server() as running:
        config = configuration(address(running, "unix"), {"item": {}}, timeout=5.0)
        async with connected(config) as manager, connected(config) as reader:
            empty = await memory(manager)
            await fill(manager, count, options.value_bytes)
            filled = await memory(manager)
            chance = random.Random(options.seed)
            sample = [key_of(chance.randrange(count)) for _ in range(options.sample)]
            alive = [await reader.get("item", key) is not None for key in sample]
            cost = await _count_commands(manager)
            probe = Probe(running)
            probe.start()
            await asyncio.sleep(options.calm)
            probe.enter(DURING)
            times = await _invalidate(manager, options.repeat)
            await asyncio.sleep(0.05)
            probe.enter(AFTER)
            served = 0
            for key in sample:
                served += await reader.get("item", key) is not None
            probe.enter(SWEEPING)
            began = time.perf_counter()
            swept = await sweep(manager, minimum_age=0.0, minimum_records=1)
            seconds = time.perf_counter() - began
            gets = probe.stop()
            left = await memory(manager)
    return {
        "entries": count,
        "sample": {"reads": len(sample), "alive_before": sum(alive), "served_after": served},
        "commands": cost,
        "invalidation_ms": {
            "first": milliseconds(times[0], 3),
            "median": milliseconds(percentile(times, 0.5), 3),
            "worst": milliseconds(max(times), 3),
        },
        "met": cost <= MAX_COMMANDS and times[0] * 1000 < MAX_MILLISECONDS and not served,
        "sweep": {
            "status": swept.status,
            "seconds": round(seconds, 2),
            "unlinked": swept.unlinked,
            "entries_per_second": round(swept.unlinked / seconds),
        },
        "memory_mib": {
            "of_entries": round((filled - empty) / 2**20, 1),
            "given_back": round((filled - left) / 2**20, 1),
        },
        "bare_get_ms": {
            "before": worst(gets.get(BEFORE, [])),
            "invalidating": worst(gets.get(DURING, [])),
            "sweeping": worst(gets.get(SWEEPING, [])),
        },
    }


async def _count_commands(manager: CacheManager) -> int:
    """What one invalidation costs; of a tag that nothing carries, for the cost is the same."""
    before = await commands(manager)
    await manager.invalidate(Tag("nowhere"))
    return await commands(manager) - before - 1


async def _invalidate(manager: CacheManager, repeat: int) -> list[float]:
    """Seconds of each; the first is the one that kills."""
    times: list[float] = []
    for _ in range(repeat):
        began = time.perf_counter()
        receipt = await manager.invalidate(Tag(TAG))
        times.append(time.perf_counter() - began)
        if not receipt.acknowledged:
            raise RuntimeError("the server did not take the invalidation")
        await asyncio.sleep(0.01)
    return times


async def measure_peer(cache: PeerCache, count: int, options: argparse.Namespace) -> dict[str, Any]:
    """The same with what another cache has for it."""
    with server() as running:
        await cache.open(address(running, "unix"))
        value = "x" * options.value_bytes
        for start in range(0, count, PEER_CALLERS):
            numbers = range(start, min(start + PEER_CALLERS, count))
            await asyncio.gather(*(cache.set_grouped(key_of(number), value) for number in numbers))
        chance = random.Random(options.seed)
        sample = [key_of(chance.randrange(count)) for _ in range(options.sample)]
        client = running.client()
        before = client.info("stats")["total_commands_processed"]
        probe = Probe(running)
        probe.start()
        await asyncio.sleep(options.calm)
        calm = client.info("stats")["total_commands_processed"]
        probe.enter(DURING)
        began = time.perf_counter()
        await cache.drop_group()
        seconds = time.perf_counter() - began
        gets = probe.stop()
        reads = sum(len(found) for phase, found in gets.items() if phase == DURING)
        used = client.info("stats")["total_commands_processed"] - max(calm, before) - reads - 1
        served = 0
        for key in sample:
            served += await cache.get(key) is not None
        await cache.close()
    return {
        "entries": count,
        "sample": {"reads": len(sample), "served_after": served},
        "commands": used,
        "invalidation_ms": milliseconds(seconds),
        "bare_get_ms": {"before": worst(gets.get(BEFORE, [])), "invalidating": worst(gets.get(DURING, []))},
    }


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.invalidate", description="What it costs to invalidate very many entries"
    )
    options.add_argument("--entries", type=int, action="append", help="may be repeated (default: 100000)")
    options.add_argument("--value-bytes", type=int, default=256, help="of each entry (default: %(default)s)")
    options.add_argument("--sample", type=int, default=1_000, help="entries that are read afterwards")
    options.add_argument("--repeat", type=int, default=20, help="invalidations that are timed")
    options.add_argument("--calm", type=float, default=1.0, help="seconds of reading beside, before it")
    options.add_argument("--peers", choices=["on", "off"], default="on")
    options.add_argument("--peer-entries", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    runs: list[Any] = []
    for count in options.entries or [100_000]:
        tell(f"stoker, {count} entries")
        runs.append(asyncio.run(measure(count, options)))
    peers: dict[str, Any] = {}
    for name, peer in PEERS.items() if options.peers == "on" else ():
        tell(f"{name}, {options.peer_entries} entries")
        installed = peer.installed()
        peers[name] = (
            {"version": installed, **asyncio.run(measure_peer(peer(), options.peer_entries, options))}
            if installed
            else "not installed"
        )
    print_document(vars(options), {"stoker": runs, "peers": peers})
    return 1 if any(run["sample"]["served_after"] for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
