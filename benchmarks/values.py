"""Values of a known size."""

from __future__ import annotations

from typing import Any

import msgspec


def value_of(size: int, number: int = 0) -> dict[str, Any]:
    """A plain record, as services keep them, of exactly `size` bytes of MessagePack (at least 200)."""
    record: dict[str, Any] = {
        "id": 1_000_000 + number,
        "name": f"product {number:08}",
        "price": 19.99,
        "tags": ["red", "cotton", "summer"],
        "stock": {"berlin": 3, "oslo": 0, "madrid": 128},
        "text": "x" * 40,
    }
    short = size - len(msgspec.msgpack.encode(record))
    for length in range(40 + short, 40 + short - 4, -1):  # a longer text has a longer length before it
        record["text"] = ("lorem ipsum dolor sit amet " * (length // 27 + 1))[:length]
        if len(msgspec.msgpack.encode(record)) == size:
            return record
    raise ValueError(f"no record has {size} bytes")
