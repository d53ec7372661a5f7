"""How many entries each type has, as last counted by a walk over the keys."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.core.runs import read_hash

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager
    from stoker.core.parts import Parts

#: Sizes live so long after they were counted, in seconds.
KEPT_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries by type."""

    entries: dict[str, int]
    at: float
    """Unix time of the count."""


async def measure_sizes(manager: CacheManager) -> Sizes:
    """Count the entries of each configured type and store the counts.

    Raises:
        LinkError: The server can't be reached.
    """
    counts = dict.fromkeys(manager.config.types, 0)
    async for names in manager.link.scan(manager.keys.all_entries):
        for name in names:
            cache_type, _ = manager.keys.parse(name)
            if cache_type in counts:
                counts[cache_type] += 1
    sizes = Sizes(counts, time.time())
    await store_sizes(manager, sizes)
    return sizes


async def store_sizes(manager: CacheManager, sizes: Sizes) -> None:
    """Store the counts of the configured types; a type without entries has 0. Who only looks stores nothing.

    Raises:
        LinkError: The server can't be reached.
    """
    if manager.read_only:
        return
    name = manager.keys.sizes
    flat = [part for kind in manager.config.types for part in (kind, sizes.entries.get(kind, 0))]
    await manager.link.calls(
        [("UNLINK", name), ("HSET", name, "", f"{sizes.at:.3f}", *flat), ("EXPIRE", name, KEPT_SECONDS)]
    )


async def stored_sizes(manager: Parts) -> Sizes | None:
    """Return the counts as last stored, None where there are none.

    Raises:
        LinkError: The server can't be reached.
    """
    fields = read_hash(await manager.link.call("HGETALL", manager.keys.sizes))
    at = fields.pop("", None)
    return Sizes({kind: int(count) for kind, count in fields.items()}, float(at)) if at else None
