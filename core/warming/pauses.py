"""Pausing the warming of a type: until it is resumed, no run of it loads anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stoker.core.warming.runs import read_hash

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager


async def pause(manager: CacheManager, cache_type: str, reason: str) -> None:
    """Pause the warming of a type; runs under way stop within about a second.

    Raises:
        LinkError: The server can't be reached; nothing was paused.
        UsageError: There is no such type.
    """
    manager.policy(cache_type)
    await manager.link.call("HSET", manager.keys.paused, cache_type, reason)


async def resume(manager: CacheManager, cache_type: str) -> bool:
    """Resume the warming of a type; say whether it was paused.

    Types that are no longer configured may be resumed too.

    Raises:
        LinkError: The server can't be reached; nothing was resumed.
    """
    return bool(await manager.link.call("HDEL", manager.keys.paused, cache_type))


async def paused(manager: CacheManager) -> dict[str, str]:
    """Return the paused types with the reason of each.

    Raises:
        LinkError: The server can't be reached.
    """
    reply = await manager.link.call("HGETALL", manager.keys.paused)
    return read_hash(reply)


async def is_paused(manager: CacheManager, cache_type: str) -> bool:
    """Say whether the warming of a type is paused.

    Raises:
        LinkError: The server can't be reached.
    """
    return bool(await manager.link.call("HEXISTS", manager.keys.paused, cache_type))
