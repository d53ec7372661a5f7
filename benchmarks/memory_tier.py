"""The memory tier's store: what it keeps, whether it counts right, and what it costs.

Hit ratios are in percent, next to other in-process caches' where those are installed, with the difference
to theine's (W-TinyLFU) in points. Bytes are compared with what Python's allocator was asked for (tracemalloc,
which doesn't see that allocations are rounded up) and with what the process grew by, each in a process of its
own.

    python -m benchmarks.memory_tier --traces FOLDER
    python -m benchmarks.memory_tier --sizes 1000 --requests 300000 --only ratios
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import multiprocessing
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measuring import optional, print_document, tell
from benchmarks.requests import drifting, loops, recorded, traces_folder, with_scans, zipf
from benchmarks.values import value_of
from stoker.core.entries.memory_store import ENTRY_BYTES, MemoryStore
from stoker.core.entries.weight import weigh

PARTS = ("ratios", "bytes", "speed")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="python -m benchmarks.memory_tier", description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--traces", help="folder of recorded traces (default: STOKER_TEST_TRACES)")
    options.add_argument("--sizes", default="500,1000,5000,20000", help="entries (default: %(default)s)")
    options.add_argument("--requests", type=int, help="of each recorded trace at most (default: all)")
    options.add_argument("--made-up", type=int, default=1_000_000, help="requests (default: %(default)s)")
    options.add_argument(
        "--keys", type=int, default=100_000, help="of the skewed ones (default: %(default)s)"
    )
    options.add_argument("--zipf", type=float, default=0.9, help="exponent (default: %(default)s)")
    options.add_argument("--scan-every", type=int, default=50_000, help="requests (default: %(default)s)")
    options.add_argument("--scan-length", type=int, default=20_000, help="keys (default: %(default)s)")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--policies", help="of those that are installed (default: all)")
    options.add_argument(
        "--entries", type=int, default=50_000, help="that are weighed (default: %(default)s)"
    )
    options.add_argument("--only", choices=PARTS, help="one part (default: all)")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    parts: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "ratios": all_ratios,
        "bytes": all_bytes,
        "speed": speed,
    }
    chosen = [options.only] if options.only else PARTS
    given = {name: value for name, value in vars(options).items() if value is not None and name != "traces"}
    print_document(given, {part: parts[part](options) for part in chosen})
    return 0


# --- Hit ratios


def ours(requests: Sequence[int], entries: int) -> int:
    store: MemoryStore[int, int] = MemoryStore(entries, 2**62)
    get, put, hits = store.get, store.put, 0
    for key in requests:
        if get(key) is None:
            put(key, 1, 1)
        else:
            hits += 1
    return hits


def by_theine(requests: Sequence[int], entries: int) -> int:
    cache = optional("theine").Cache(entries, nolock=True)  # type: ignore[union-attr]
    get, put, hits = cache.get, cache.set, 0
    for key in requests:
        if get(key)[1]:
            hits += 1
        else:
            put(key, 1)
    cache.close()
    return hits


def by_mapping(cache: Any, requests: Sequence[int]) -> int:
    get, hits = cache.get, 0
    for key in requests:
        if get(key) is None:
            cache[key] = 1
        else:
            hits += 1
    return hits


def by_moka(requests: Sequence[int], entries: int) -> int:
    cache: Any = optional("moka_py").Moka(entries)  # type: ignore[union-attr]
    get, put, hits = cache.get, cache.set, 0
    for key in requests:
        if get(key) is None:
            put(key, 1)
        else:
            hits += 1
    return hits


def by_cachetools(requests: Sequence[int], entries: int) -> int:
    return by_mapping(optional("cachetools").LRUCache(entries), requests)  # type: ignore[union-attr]


def by_cachebox(requests: Sequence[int], entries: int) -> int:
    return by_mapping(optional("cachebox").LRUCache(entries), requests)  # type: ignore[union-attr]


#: What is compared: its name, the module that it needs, what counts its hits.
POLICIES: dict[str, tuple[str, Callable[[Sequence[int], int], int]]] = {
    "stoker": ("stoker", ours),
    "theine": ("theine", by_theine),
    "moka": ("moka_py", by_moka),
    "cachetools LRU": ("cachetools", by_cachetools),
    "cachebox LRU": ("cachebox", by_cachebox),
}


def all_traces(options: argparse.Namespace) -> Iterator[tuple[str, list[int]]]:
    folder = traces_folder(options.traces)
    for path in sorted(folder.glob("*.trace.xz")) if folder else ():
        yield path.name.removesuffix(".trace.xz"), recorded(path, options.requests)
    count, exponent, seed = options.made_up, options.zipf, options.seed
    skewed = zipf(count, options.keys, exponent, seed)
    yield f"zipf {exponent}", skewed
    yield f"zipf {exponent} with scans", with_scans(skewed, options.scan_every, options.scan_length)
    yield "news", drifting(count, exponent, seed)
    yield "loop over 8,000", loops(count, 8_000)


def all_ratios(options: argparse.Namespace) -> dict[str, Any]:
    sizes = [int(size) for size in options.sizes.split(",")]
    wanted = options.policies.split(",") if options.policies else list(POLICIES)
    found: dict[str, Any] = {}
    for name, requests in all_traces(options):
        found[name] = {"requests": len(requests), "keys": len(set(requests))}
        for size in sizes:
            tell(f"{name}, {size} entries")
            found[name][f"{size} entries"] = ratios(requests, size, wanted)
    return found


def ratios(requests: Sequence[int], size: int, wanted: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for policy in wanted:
        module, count_hits = POLICIES[policy]
        row[policy] = (
            round(100 * count_hits(requests, size) / len(requests), 2)
            if optional(module)
            else "not installed"
        )
    if isinstance(row.get("theine"), float):
        row["stoker above theine"] = round(row["stoker"] - row["theine"], 2)
    return row


# --- Bytes


@dataclasses.dataclass
class Product:
    """A value."""

    number: int
    name: str
    price: float


def document(number: int) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value_of(1024, number)))


KINDS: dict[str, Callable[[int], Any]] = {
    "documents of 1 KB, decoded": document,
    "bytes, 1 KB": lambda number: number.to_bytes(1024),
    "texts of 100": lambda number: f"{number:0100}",
    "numbers": lambda number: 10_000 + number,
    "dataclasses": lambda number: Product(1_000 + number, f"product {number:012}", number + 0.5),
    "nested lists": lambda number: [[number + 1_000 + row + at for at in range(10)] for row in range(5)],
}


def filled(kind: str, entries: int) -> MemoryStore[tuple[str, str], Any]:
    """A store that has been full for a while."""
    store: MemoryStore[tuple[str, str], Any] = MemoryStore(entries, 2**62)
    for number in range(2 * entries):
        key, value = ("products", f"product:{number}"), KINDS[kind](number)
        store.put(key, value, weigh(key) + weigh(value) + ENTRY_BYTES)
    return store


def resident() -> int:
    """Bytes of memory that the process has."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def measured(kind: str, entries: int, *, traced: bool) -> tuple[int, int]:
    """Bytes as counted and as measured, in a process of its own."""
    filled(kind, 100)
    gc.collect()
    if traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if traced else resident()
    store = filled(kind, entries)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0] if traced else resident()
    return store.bytes, after - before


def apart(kind: str, entries: int, *, traced: bool) -> tuple[int, int]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (kind, entries), {"traced": traced})


def weigh_often(value: Any) -> None:
    for _ in range(200):
        weigh(value)


def all_bytes(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind, make in KINDS.items():
        tell(f"{kind}, {options.entries} entries")
        counted, traced = apart(kind, options.entries, traced=True)
        row: dict[str, Any] = {
            "counted_an_entry": round(counted / options.entries),
            "traced_an_entry": round(traced / options.entries),
            "counted_to_traced": round(counted / traced, 3),
        }
        if sys.platform == "linux":
            _, grown = apart(kind, options.entries, traced=False)
            row["resident_an_entry"] = round(grown / options.entries)
            row["counted_to_resident"] = round(counted / grown, 3)
        row["microseconds_to_weigh"] = round(best(partial(weigh_often, make(5_000)), 200), 2)
        found[kind] = row
    return found


# --- Speed


def best(work: Callable[[], Any], operations: int, rounds: int = 9) -> float:
    """Microseconds of this process for one operation, in the best round."""
    seconds: list[float] = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return 1e6 * min(seconds) / operations


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Nanoseconds of reads and writes; a full store, so that each write of a new key evicts."""
    entries = min(options.entries, 10_000)
    store: MemoryStore[tuple[str, str], str] = MemoryStore(entries, 2**62)
    keys = [("products", f"product:{number}") for number in range(entries)]
    for key in keys:
        store.put(key, "x", 500)
    held = keys[: entries // 2]
    absent = [("products", f"absent:{number}") for number in range(entries // 2)]

    def by_hand() -> None:
        slots = store.slots
        for key in held:
            slot = slots.get(key)
            if slot is not None:
                slot.visits += 1
                slot.seen = store.turn

    figures = {
        "get": best(lambda: [store.get(key) for key in held], len(held)),
        "get, by hand": best(by_hand, len(held)),
        "get of what is not there": best(lambda: [store.get(key) for key in absent], len(absent)),
        "put over what is there": best(lambda: [store.put(key, "y", 500) for key in held], len(held)),
    }
    fresh = iter(range(10**9))

    def scan() -> None:
        for _ in range(5_000):
            store.put(("products", f"new:{next(fresh)}"), "x", 500)

    figures["put that evicts, in a scan"] = best(scan, 5_000)
    requests = zipf(200_000, options.keys, options.zipf, options.seed)
    misses = len(requests) - ours(requests, entries)
    seconds = best(lambda: ours(requests, entries), 1, rounds=3) / 1e6
    hits = (len(requests) - misses) * figures["get"] / 1e6
    figures["put that evicts, skewed requests"] = 1e6 * (seconds - hits) / misses
    return {name: round(1000 * value) for name, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
