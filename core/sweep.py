"""The sweep: dead entries give their memory back, and the log is cut where nothing needs it any more.

In this order, or a dead entry could come to life again: raise the fence, so that no load from before it
can be stored; then unlink what is dead; then trim the log, and tell readers that they may forget what was
trimmed. The record at the fence stays, as the sign that all before it was swept; a log that begins elsewhere
was cut by somebody else, and readers trust nothing older.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stoker.core.entry import FROZEN_BYTES, frozen_born
from stoker.core.policy import Policy
from stoker.core.position import START, format_position, parse_position, split_position
from stoker.core.scopes import Everything
from stoker.core.script import Script
from stoker.core.tier import State

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

logger = logging.getLogger(__name__)

#: Records stay at least so long, so that loads under way can be stored.
MINIMUM_AGE_SECONDS = 300.0

#: With fewer records than this there is nothing to gain.
MINIMUM_RECORDS = 1_000

#: A longer log is cut at once: everything is invalidated, and readers begin anew.
MAXIMUM_RECORDS = 1_000_000

_RAISE_FENCE = Script("raise_fence.lua")
_UNLINK = Script("unlink_born.lua")
_TRIM = Script("trim.lua")

#: For entries of types that other processes declare: nothing of theirs is dead but by the log.
_UNKNOWN_TYPE = Policy()


@dataclass(slots=True)
class Sweep:
    """What one sweep did."""

    status: Literal["done", "nothing to do", "interrupted"] = "nothing to do"
    """`interrupted`: the log, or the server, changed under it; nothing was trimmed."""
    scanned: int = 0
    unlinked: int = 0
    trimmed: int = 0
    """Records cut from the log."""
    seconds: float = 0.0


async def sweep(
    manager: CacheManager,
    *,
    minimum_age: float = MINIMUM_AGE_SECONDS,
    minimum_records: int = MINIMUM_RECORDS,
    maximum_records: int = MAXIMUM_RECORDS,
) -> Sweep:
    """Sweep once.

    Args:
        manager: The cache.
        minimum_age: Seconds that records stay at least.
        minimum_records: A shorter log is left alone.
        maximum_records: A longer log gets an *everything* record, and is cut there.

    Raises:
        LinkError: The server can't be reached.
    """
    began, result = time.monotonic(), Sweep()
    length: int = await manager.link.call("XLEN", manager.keys.log)
    if length > maximum_records:
        await manager.invalidate(Everything(), reason=f"the log has grown over {maximum_records} records")
        minimum_age = 0.0
    target = await _choose_target(manager, minimum_age) if length >= minimum_records else START
    if target == START or not await manager.log.catch_up():
        return result
    epoch, connections = manager.log.epoch, manager.link.connections
    raised = await _RAISE_FENCE.run(
        manager.link, [manager.keys.fence], f"{epoch:016x}", *split_position(target)
    )
    result.status = "interrupted"
    if raised >= 0:
        async for names in manager.tier.scan(manager.keys.all_entries):
            result.scanned += len(names)
            result.unlinked += await _unlink_dead(manager, names, epoch, target)
        # Another epoch or another connection: what was scanned may not be what is there now.
        if (manager.log.epoch, manager.link.connections) == (epoch, connections):
            keys = [manager.keys.log, manager.keys.fence]
            trimmed = await _TRIM.run(manager.link, keys, f"{epoch:016x}", format_position(target))
            if trimmed >= 0:
                result.trimmed, result.status = trimmed, "done"
    result.seconds = time.monotonic() - began
    logger.info(
        "action=swept status=%s scanned=%d unlinked=%d trimmed=%d seconds=%.3f",
        result.status,
        result.scanned,
        result.unlinked,
        result.trimmed,
        result.seconds,
        extra={"action": "swept"},
    )
    return result


async def _choose_target(manager: CacheManager, minimum_age: float) -> int:
    """The youngest record that is old enough, by the server's clock; START where there is none."""
    seconds, _ = await manager.link.call("TIME")
    before = int((int(seconds) - minimum_age) * 1000)
    found = await manager.link.call("XREVRANGE", manager.keys.log, before, "-", "COUNT", 1)
    if minimum_age == 0.0:
        found = await manager.link.call("XREVRANGE", manager.keys.log, "+", "-", "COUNT", 1)
    return parse_position(found[0][0]) if found else START


async def _unlink_dead(manager: CacheManager, names: Sequence[bytes], epoch: int, target: int) -> int:
    """Unlink what can't be shown to be alive, if it is still what was looked at."""
    heads = await manager.tier.heads(names)
    if manager.log.epoch != epoch:
        return 0  # what is known of the log is of another time than what was asked for
    dead: list[tuple[bytes, bytes]] = [
        (name, head[:FROZEN_BYTES])
        for name, head in zip(names, heads, strict=True)
        if _is_dead(manager, name, head, target)
    ]
    if not dead:
        return 0
    gone: int = await _UNLINK.run(manager.link, [name for name, _ in dead], *(seen for _, seen in dead))
    return gone


def _is_dead(manager: CacheManager, name: bytes, head: bytes, target: int) -> bool:
    """Also of types and format versions that this process doesn't know: their readers trust the sweep."""
    cache_type, key = manager.keys.parse(name)
    policy = manager.config.types.get(cache_type, _UNKNOWN_TYPE)
    lookup = manager.tier.judge(cache_type, key, head, policy)
    if lookup.state is State.UNDECODABLE:
        born = frozen_born(head)
        return born is not None and born < target
    return lookup.state is State.DEAD
