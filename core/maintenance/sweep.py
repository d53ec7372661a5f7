"""The sweep: dead entries give their memory back, and the log is cut where nothing needs it any more.

In this order, or a dead entry could come to life again: raise the fence, so that no load from before it
can be stored; then unlink what is dead; then trim the log, and tell readers that they may forget what was
trimmed. The record at the fence stays, as the sign that all before it was swept; a log that begins elsewhere
was cut by somebody else, and readers trust nothing older.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stoker.core.keys import glob_escape
from stoker.core.link.script import Script
from stoker.core.log.position import START, format_position, parse_position, split_position
from stoker.core.log.scopes import Everything
from stoker.core.maintenance.unlinking import unlink_what_is_dead

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

logger = logging.getLogger(__name__)

#: Records stay at least so long, so that loads under way can be stored.
MINIMUM_AGE_SECONDS = 300.0

#: Where commits go by their age and not by the fence, records stay this much longer than commits are taken.
COMMIT_MARGIN = 1.25

#: With fewer records than this there is nothing to gain.
MINIMUM_RECORDS = 1_000

#: A longer log is cut at once: everything is invalidated, and readers begin anew.
MAXIMUM_RECORDS = 1_000_000

_RAISE_FENCE = Script("raise_fence.lua")
_TRIM = Script("trim.lua")


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
        minimum_age: Seconds that records stay at least; and as long as a type's source takes to settle.
        minimum_records: A shorter log is left alone.
        maximum_records: A longer log gets an *everything* record, and is cut there.

    Raises:
        LinkError: A server can't be reached.
        ReplyError: It refuses.
    """
    began, result, log = time.monotonic(), Sweep(), manager.log
    least_age = manager.link.commit_seconds * COMMIT_MARGIN
    settling = max((policy.settle for policy in manager.config.types.values()), default=0.0)
    age = max(minimum_age + settling, least_age)
    length: int = await manager.link.call("XLEN", manager.keys.log)
    if length > maximum_records:
        await manager.invalidate(Everything(), reason=f"the log has grown over {maximum_records} records")
        age = least_age
    target = await _choose_target(manager, age) if length >= minimum_records else START
    if target == START or not await log.read_back():
        return result
    if target <= log.history.swept and log.trusted_from == START:
        return result  # the last sweep came as far
    await _sweep_to(manager, target, result)
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


async def _sweep_to(manager: CacheManager, target: int, result: Sweep) -> None:
    """Raise the fence to a record, unlink what is dead, and trim the log; note what was done."""
    link, log = manager.link, manager.log
    epoch, survey, servers = log.epoch, await link.survey(), link.masters
    raised = await _RAISE_FENCE.run(link, [manager.keys.fence], f"{epoch:016x}", *split_position(target))
    result.status = "interrupted"
    if raised < 0 or survey is None:
        return
    async for names in link.scan(manager.keys.all_entries):
        result.scanned += len(names)
        result.unlinked += await unlink_what_is_dead(manager, names, epoch, target)
    # Another epoch, another connection, a slot that moved: what was scanned may not be what is there now.
    if (log.epoch, await link.survey(), link.masters) != (epoch, survey, servers):
        return
    keys = [manager.keys.log, manager.keys.fence]
    gone_over = ",".join(sorted(servers)) if link.is_cluster else ""
    trimmed = await _TRIM.run(link, keys, f"{epoch:016x}", format_position(target), gone_over)
    if trimmed >= 0:
        result.trimmed, result.status = trimmed, "done"


async def unlink_dead(manager: CacheManager, cache_type: str, beginning: str = "") -> int:
    """Give the memory of a type's dead entries back at once, and of what is no entry; say how many went.

    Nothing depends on it: they are never served. A sweep does the same for all dead, when the log is cut.
    Entries of other format versions are left alone, and what has changed since it was looked at.

    Args:
        manager: The cache.
        cache_type: The type.
        beginning: What the entries' keys begin with.

    Raises:
        LinkError: A server can't be reached.
        ReplyError: It refuses.
    """
    log, gone = manager.log, 0
    if not await log.read_back():
        return 0
    epoch, pattern = log.epoch, manager.keys.entries(cache_type, glob_escape(beginning) + "*")
    async with contextlib.aclosing(manager.link.scan(pattern)) as steps:
        async for names in steps:
            gone += await unlink_what_is_dead(manager, names, epoch, START, damaged=True)
    return gone


async def _choose_target(manager: CacheManager, minimum_age: float) -> int:
    """The youngest record that is old enough, by the server's clock; START where there is none."""
    seconds, _ = await manager.link.call("TIME")
    before = int((int(seconds) - minimum_age) * 1000)
    found = await manager.link.call("XREVRANGE", manager.keys.log, before, "-", "COUNT", 1)
    if not minimum_age:
        found = await manager.link.call("XREVRANGE", manager.keys.log, "+", "-", "COUNT", 1)
    return parse_position(found[0][0]) if found else START
