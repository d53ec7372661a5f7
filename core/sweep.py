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

from stoker.core.entry import HEADER_BYTES, header_length
from stoker.core.errors import ReplyError
from stoker.core.explain import scan_entries
from stoker.core.position import START, format_position, parse_position, split_position
from stoker.core.scopes import Everything
from stoker.core.script import Script
from stoker.core.tier import PEEK_BYTES, State

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

logger = logging.getLogger(__name__)

#: Records stay at least so long, so that loads under way can be stored.
MINIMUM_AGE_SECONDS = 300.0

#: With fewer records than this there is nothing to gain.
MINIMUM_RECORDS = 1_000

#: A longer log is cut at once: everything is invalidated, and readers begin anew.
MAXIMUM_RECORDS = 1_000_000

#: Bytes of a header that decide life and death; what is compared before an entry is unlinked.
IDENTITY_BYTES = 28

_RAISE_FENCE = Script("raise_fence.lua")
_UNLINK = Script("unlink_born.lua")


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
        manager: The cache; it must know all types that the fleet uses.
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
        for cache_type in manager.config.types:
            async for names in scan_entries(manager, cache_type):
                result.scanned += len(names)
                result.unlinked += await _unlink_dead(manager, cache_type, names)
        # Another epoch or another connection: what was scanned may not be what is there now.
        if (manager.log.epoch, manager.link.connections) == (epoch, connections):
            fence = format_position(target)
            result.trimmed = await manager.link.call("XTRIM", manager.keys.log, "MINID", fence)
            await manager.link.call("XADD", manager.keys.log, "NOMKSTREAM", "*", "_swept", fence)
            result.status = "done"
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


async def _unlink_dead(manager: CacheManager, cache_type: str, names: Sequence[bytes]) -> int:
    heads = await manager.link.calls([("GETRANGE", name, 0, PEEK_BYTES - 1) for name in names])
    dead: list[tuple[bytes, bytes]] = []
    for name, head in zip(names, heads, strict=True):
        if isinstance(head, ReplyError) or len(head) < HEADER_BYTES:
            continue
        whole: bytes = head
        if header_length(head) > len(head):
            whole = await manager.link.call("GETRANGE", name, 0, header_length(head) - 1)
        key = manager.keys.key_of(name)
        if manager.judge(cache_type, key, whole).state is State.DEAD:
            dead.append((name, whole[:IDENTITY_BYTES]))
    if not dead:
        return 0
    names_to_go = [name for name, _ in dead]
    gone: int = await _UNLINK.run(manager.link, names_to_go, *(identity for _, identity in dead))
    return gone
