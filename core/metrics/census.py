"""How many entries there are now, in memory and in the server: counted in bounded steps."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.core.clock import boottime
from stoker.core.keys import glob_escape
from stoker.core.maintenance import sizes

if TYPE_CHECKING:
    from stoker.core.entries.memory import MemoryTier
    from stoker.core.parts import Parts

#: A walk ends after so many seconds.
WALK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class MemoryCount:
    """What memory holds of some types."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ServerCount:
    """What the server holds."""

    entries: int
    """Entries of the type and namespace."""
    keys: int
    """All keys, whoever wrote them."""
    bytes: int
    """Memory that it uses for everything."""
    warning: str = ""
    """How the count of entries may differ, if it may."""


def count_memory(memory: MemoryTier, cache_type: str | None = None, begin: str = "") -> MemoryCount:
    """Count the unexpired entries in memory: of a type, or of all; whose keys begin so."""
    entries = size = 0
    now = boottime()
    for (kind, key), slot in list(memory.store.slots.items()):
        of_it = cache_type is None or (kind == cache_type and key.startswith(begin))
        if of_it and slot.expires > now:
            entries += 1
            size += slot.weight
    return MemoryCount(entries, size)


def count_types(memory: MemoryTier) -> Counter[str]:
    """Count the unexpired entries in memory by type."""
    now = boottime()
    return Counter(kind for (kind, _), slot in list(memory.store.slots.items()) if slot.expires > now)


async def count_server(manager: Parts, cache_type: str | None = None, begin: str = "") -> ServerCount:
    """Count entries in the server; where it has many keys, as a worker last counted them.

    Raises:
        LinkError: The server can't be reached.
        ReplyError: It refuses.
    """
    link = manager.link
    keys = sum(int(reply) for reply in await link.each("DBSIZE"))
    used = sum(_used(reply) for reply in await link.each("INFO", "memory"))
    if keys > sizes.WALKED_KEYS and not begin and (known := await _counted(manager, cache_type)) is not None:
        return ServerCount(known, keys, used)
    entries, whole = await _walk(manager, cache_type, begin)
    warning = "" if whole else f"there are more entries than {entries}: a stoker worker counts all of them"
    return ServerCount(entries, keys, used, warning)


async def _counted(manager: Parts, cache_type: str | None) -> int | None:
    stored = await sizes.stored_sizes(manager)
    if stored is None:
        return None
    return sum(stored.entries.values()) if cache_type is None else stored.of(cache_type)


async def _walk(manager: Parts, cache_type: str | None, begin: str) -> tuple[int, bool]:
    """Count for a second at most; say whether all were seen."""
    pattern = manager.keys.all_entries
    if cache_type is not None:
        pattern = manager.keys.entries(cache_type, glob_escape(begin) + "*")
    ends, seen = boottime() + WALK_SECONDS, set[bytes]()
    async with contextlib.aclosing(manager.link.scan(pattern)) as steps:
        async for names in steps:
            seen.update(names)
            if boottime() > ends:
                return len(seen), False
    return len(seen), True


def _used(info: bytes) -> int:
    """`used_memory` of an INFO."""
    for line in info.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"used_memory" and value.isdigit():
            return int(value)
    return 0
