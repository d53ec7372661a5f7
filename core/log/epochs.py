"""Epochs of the invalidation log: found or opened on every connection, before anything is served."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from importlib.resources import files

from stoker.core.errors import ReplyError, StokerError
from stoker.core.keys import Keys
from stoker.core.link.link import Link
from stoker.core.log.position import START, parse_position

logger = logging.getLogger(__name__)

_OPEN_EPOCH = (files("stoker.core") / "lua" / "open_epoch.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Epoch:
    """The time during which the log's history is whole."""

    number: int
    """Never 0."""
    opened: bool
    """Whether this process opened it just now."""
    evicted_by: str
    """The server's eviction policy, if it may remove the log; else empty."""

    @property
    def unfit(self) -> str:
        """Why the server should not hold the log, with what to do; empty where it may."""
        if not self.evicted_by:
            return ""
        return (
            f"the server's maxmemory-policy {self.evicted_by} may evict the invalidation log: set it to "
            "noeviction (or volatile-lru: the log has no TTL), or redis.allow_eviction to true"
        )


async def open_epoch(link: Link, keys: Keys, *, read_only: bool) -> Epoch:
    """Find the log's epoch, or open one where history was lost: no log, or another run of the server.

    Args:
        link: The connection, before it serves anyone.
        keys: Names the log and its fence.
        read_only: Open none; where there is none, the answer is one that no entry has.

    Raises:
        LinkError: The server doesn't answer.
        ReplyError: It refuses.
    """
    # A service may hide it: then only the log's loss opens an epoch.
    run_id = _field(await link.call_early("INFO", "server"), b"run_id") or "unknown"
    number = secrets.randbits(64) | 1
    how = "look" if read_only else "open"
    group, _ = await link.call_early(
        "EVAL", _OPEN_EPOCH, 2, keys.log, keys.fence, f"{number:016x}", run_id, how
    )
    # Who only looks, and finds no epoch, takes one that no entry has: all are of an older one.
    found = int(group[6:22], 16) if group else number
    opened = found == number and not read_only
    if opened:
        logger.warning("action=epoch_opened epoch=%016x", found, extra={"action": "epoch_opened"})
    return Epoch(found, opened, await _eviction_of(link))


async def _eviction_of(link: Link) -> str:
    """The server's eviction policy, where its memory is bounded and the log may have to go; else empty."""
    try:
        info = await link.call_early("INFO", "memory")
    except ReplyError:
        return ""  # it may not be asked
    policy, bound = _field(info, b"maxmemory_policy"), _field(info, b"maxmemory")
    return policy if policy.startswith("allkeys-") and bound != "0" else ""


def floor_of(fence: bytes) -> int:
    """Where the log begins by right, by the text of its fence."""
    floor = fence.split(b":")[2:3]
    try:
        return parse_position(floor[0]) if floor and floor[0] else START
    except StokerError:
        return START  # not ours: the log's beginning can't be vouched for


def _field(info: bytes, name: bytes) -> str:
    for line in info.split(b"\r\n"):
        if line.startswith(name + b":"):
            return line[len(name) + 1 :].decode()
    return ""
