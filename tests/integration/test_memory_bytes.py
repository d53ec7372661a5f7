"""The bytes that the memory tier counts are those that its entries take."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stoker.core import CacheConfig, CacheManager

ENTRIES = 5_000

_pack, _unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


def document(number: int) -> Any:
    """About 1 KB, decoded as what comes from a server is: with keys that all documents share."""
    return _unpack(
        _pack({"id": number, "name": f"product {number}" * 5, "text": "x" * 800, "price": number / 7})
    )


@pytest.mark.parametrize("make", [document, lambda n: n + 10**6, lambda n: bytes(300 + n % 50)])
async def test_counted_bytes_are_within_a_tenth_of_the_real_ones(make: Callable[[int], Any]) -> None:
    config = CacheConfig.model_validate(
        {
            "redis": {"enabled": False},
            "types": {"page": {"ttl": 600}},
            "memory": {"entries": 2 * ENTRIES, "bytes": "1GiB"},
        }
    )
    async with CacheManager(config) as cache:
        await cache.set("page", "first", make(0))
        gc.collect()
        tracemalloc.start()
        try:
            counted = cache.memory.store.bytes
            for number in range(ENTRIES):
                await cache.set("page", f"key:{number}", make(number))
            gc.collect()
            real, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(cache.memory.store) == ENTRIES + 1
        assert (cache.memory.store.bytes - counted) / real == pytest.approx(1.0, abs=0.1)
