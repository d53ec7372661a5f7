"""How many entries each type has, as last counted by a walk over the keys."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.core.warming.runs import read_hash

if TYPE_CHECKING:
    from stoker.core.parts import Parts

#: Sizes live so long after they were counted, in seconds.
KEPT_SECONDS = 3600

#: A count that is younger, in seconds, is not made anew.
YOUNG_SECONDS = 60.0

#: A server with more keys is walked by workers alone.
WALKED_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries by type."""

    entries: dict[str, int]
    at: float
    """Unix time of the count."""


async def measure_sizes(manager: Parts) -> Sizes:
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


async def store_sizes(manager: Parts, sizes: Sizes) -> None:
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


async def known_sizes(manager: Parts) -> dict[str, int]:
    """Return the counts for all types: a young one, or the walk's where the server has not too many keys.

    Raises:
        LinkError: The server can't be reached.
        ReplyError: It refuses.
    """
    stored = await stored_sizes(manager)
    if stored is None or time.time() - stored.at > YOUNG_SECONDS:
        keys = sum(int(reply) for reply in await manager.link.each("DBSIZE"))
        if keys <= WALKED_KEYS:
            stored = await measure_sizes(manager)
    return {} if stored is None else stored.entries


async def stored_sizes(manager: Parts) -> Sizes | None:
    """Return the counts as last stored, None where there are none.

    Raises:
        LinkError: The server can't be reached.
    """
    fields = read_hash(await manager.link.call("HGETALL", manager.keys.sizes))
    at = fields.pop("", None)
    return Sizes({kind: int(count) for kind, count in fields.items()}, float(at)) if at else None
