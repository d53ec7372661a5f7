"""Requests for keys: recorded ones, and made-up ones with scans among them."""

from __future__ import annotations

import lzma
import os
import random
from array import array
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

#: Keys of scans begin here: nobody else asks for them.
FIRST_SCANNED = 10**9


def traces_folder(given: str | None) -> Path | None:
    """Where recorded traces lie: as given, else as `STOKER_TEST_TRACES` says; None where nothing is there."""
    name = given or os.environ.get("STOKER_TEST_TRACES")
    return Path(name) if name and Path(name).is_dir() else None


def recorded(path: Path, limit: int | None) -> list[int]:
    """The first requests of a trace: xz, then one little-endian 32-bit key for each."""
    with lzma.open(path) as file:
        return array("i", file.read() if limit is None else file.read(4 * limit)).tolist()


def zipf(count: int, keys: int, exponent: float, seed: int) -> list[int]:
    """Requests of which the key of rank r gets a share that goes as `r ** -exponent`."""
    weights = list(accumulate(1 / rank**exponent for rank in range(1, keys + 1)))
    return random.Random(seed).choices(range(keys), cum_weights=weights, k=count)


def with_scans(requests: Sequence[int], every: int, length: int) -> list[int]:
    """After each so many requests, so many for keys that are asked for this once."""
    mixed: list[int] = []
    scanned = FIRST_SCANNED
    for start in range(0, len(requests), every):
        mixed += requests[start : start + every]
        mixed += range(scanned, scanned + length)
        scanned += length
    return mixed


def loops(count: int, length: int) -> list[int]:
    """The same keys over and over, in order."""
    return [number % length for number in range(count)]


def drifting(count: int, exponent: float, seed: int, fresh: float = 0.05) -> list[int]:
    """News: so many new keys a request, each most popular when it is new."""
    ages = zipf(count, 50_000, exponent, seed)
    return [int(number * fresh) - age for number, age in enumerate(ages)]
