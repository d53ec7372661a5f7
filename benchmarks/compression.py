"""What compressing an answer of a model costs: zstd as types have it by default, beside zlib at level 6.

Texts and answers are made from a seed. Each round compresses the same values by each method, in turns;
ratios are medians of the rounds' own. `bytes_to_zlib_6` above 1 means that zlib makes it smaller.

    python -m benchmarks.compression --size 20000 --rounds 9
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measuring import print_document, spread
from benchmarks.prose import answer_of, text_of
from stoker.core.entries.compression import compress, expand

#: Method and level, by the name in the document.
METHODS: dict[str, tuple[str, int | None]] = {
    "zstd (default)": ("zstd", None),
    "zstd 6": ("zstd", 6),
    "zlib (default)": ("zlib", None),
    "zlib 6": ("zlib", 6),
}


@dataclass
class Row:
    """One method over one kind of values."""

    seconds: list[float] = field(default_factory=list[float])
    """To compress one value, of each round."""
    expanding: list[float] = field(default_factory=list[float])
    ratio: float = 0.0
    """Bytes before to bytes after."""


def measure_row(row: Row, values: Sequence[bytes], method: str, level: int | None) -> None:
    """Compress and expand all values once."""
    began = time.perf_counter()
    packed = [compress(value, method, level) for value in values]
    row.seconds.append((time.perf_counter() - began) / len(values))
    began = time.perf_counter()
    for value in packed:
        expand(value, method, 2**24)
    row.expanding.append((time.perf_counter() - began) / len(values))
    row.ratio = sum(map(len, values)) / sum(map(len, packed))


def measure(values: Sequence[bytes], rounds: int) -> dict[str, dict[str, float]]:
    """Run all methods, in turns."""
    rows = {name: Row() for name in METHODS}
    gc.collect()
    gc.disable()
    for number in range(rounds):
        names = list(METHODS)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            measure_row(rows[name], values, *METHODS[name])
    gc.enable()
    reference = rows["zlib 6"]
    return {
        name: {
            "microseconds": round(statistics.median(row.seconds) * 1e6, 1),
            "expanding_microseconds": round(statistics.median(row.expanding) * 1e6, 1),
            "spread": spread(row.seconds),
            "ratio": round(row.ratio, 3),
            "times_faster_than_zlib_6": round(
                statistics.median(a / b for a, b in zip(reference.seconds, row.seconds, strict=True)), 2
            ),
            "bytes_to_zlib_6": round(reference.ratio / row.ratio, 4),
        }
        for name, row in rows.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON document."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--size", type=int, default=20_000, help="characters (default: %(default)s)")
    options.add_argument("--values", type=int, default=30, help="of each kind (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args(arguments)
    seeds = range(chosen.seed, chosen.seed + chosen.values)
    found: dict[str, Any] = {
        name: measure([make(chosen.size, seed).encode() for seed in seeds], chosen.rounds)
        for name, make in (("text", text_of), ("answers as JSON", answer_of))
    }
    print_document(vars(chosen), {"compression": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
