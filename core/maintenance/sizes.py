"""How many entries each type has, as last counted by a walk over the keys."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from stoker.core.keys import is_type_name
from stoker.core.warming.runs import as_number, read_hash

if TYPE_CHECKING:
    from stoker.core.parts import Parts

#: Sizes live so long after they were counted, in seconds.
KEPT_SECONDS = 3600

#: A count that is younger, in seconds, is not made anew.
YOUNG_SECONDS = 60.0

#: Types that are told, the largest of them.
MOST_TYPES = 1000

#: A server with more keys is walked by workers alone.
WALKED_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries by type."""

    entries: dict[str, int]
    """Of each type that has some, whoever configures it."""
    at: float
    """Unix time of the count."""

    def of(self, cache_type: str) -> int:
        """Entries of a type."""
        return self.entries.get(cache_type, 0)


async def measure_sizes(manager: Parts) -> Sizes:
    """Count the entries of each type and store the counts.

    Raises:
        LinkError: The server can't be reached.
    """
    counts = Counter[str]()
    async for names in manager.link.scan(manager.keys.all_entries):
        counts.update(manager.keys.parse(name)[0] for name in names)
    return await store_sizes(manager, counts)


async def store_sizes(manager: Parts, counts: Mapping[str, int]) -> Sizes:
    """Store the counts of all types: other services may have others. Who only looks stores nothing.

    What stands where a type does and can't name one is left out: the empty field is the count's time.

    Raises:
        LinkError: The server can't be reached.
    """
    sizes = Sizes({kind: count for kind, count in counts.items() if is_type_name(kind)}, time.time())
    if manager.read_only:
        return sizes
    name = manager.keys.sizes
    largest = sorted(sizes.entries.items(), key=itemgetter(1), reverse=True)[:MOST_TYPES]
    flat = [part for pair in largest for part in pair]
    await manager.link.calls(
        [("UNLINK", name), ("HSET", name, "", f"{sizes.at:.3f}", *flat), ("EXPIRE", name, KEPT_SECONDS)]
    )
    return sizes


async def known_sizes(manager: Parts) -> dict[str, int]:
    """Return the counts of the configured types: young ones, or the walk's of a server with few enough keys.

    Raises:
        LinkError: The server can't be reached.
        ReplyError: It refuses.
    """
    stored = await stored_sizes(manager)
    if stored is None or time.time() - stored.at > YOUNG_SECONDS:
        keys = sum(int(reply) for reply in await manager.link.each("DBSIZE"))
        if keys <= WALKED_KEYS:
            stored = await measure_sizes(manager)
    return {} if stored is None else {name: stored.of(name) for name in manager.config.types}


async def stored_sizes(manager: Parts) -> Sizes | None:
    """Return the counts as last stored, None where there are none that can be read.

    Raises:
        LinkError: The server can't be reached.
    """
    (reply,) = await manager.link.calls([("HGETALL", manager.keys.sizes)])
    fields = read_hash(reply)
    at = as_number(fields.pop("", ""))
    counts = {kind: as_number(count) for kind, count in fields.items()}
    entries = {kind: int(count) for kind, count in counts.items() if count is not None}
    return None if at is None else Sizes(entries, at)
