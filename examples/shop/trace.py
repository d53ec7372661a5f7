"""What is asked for in a replay: product ids, in order of arrival."""

from __future__ import annotations

import itertools
import lzma
import random
import sys
from array import array
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

from examples.shop.seed import PRODUCTS

_BATCH = 1024


def read_trace(path: Path) -> array[int]:
    """Keys of an xz file with one little-endian 32-bit integer for each request."""
    keys = array("i")
    with lzma.open(path) as file:
        keys.frombytes(file.read())
    if sys.byteorder == "big":
        keys.byteswap()
    return keys


def read_keys(path: Path) -> list[str]:
    """Keys of a text file, one a line; any text will do."""
    return path.read_text(encoding="utf-8").split()


def to_products(keys: Iterable[Hashable], products: int = PRODUCTS) -> Iterator[int]:
    """Give each key a product, in order of first appearance; no two share one while there are enough."""
    known: dict[Hashable, int] = {}
    for key in keys:
        yield known.setdefault(key, len(known) % products + 1)


def zipf(skew: float, products: int = PRODUCTS, *, seed: int = 1) -> Iterator[int]:
    """Endless requests, of which the product of rank r gets a share proportional to r^-skew."""
    chance = random.Random(seed)
    ranked = list(range(1, products + 1))
    chance.shuffle(ranked)
    weights = list(itertools.accumulate(rank**-skew for rank in range(1, products + 1)))
    while True:
        yield from chance.choices(ranked, cum_weights=weights, k=_BATCH)
