"""Epochs of the invalidation log: found or opened on every connection, before anything is served."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from importlib.resources import files

from stoker.core.keys import Keys
from stoker.core.link import Link
from stoker.core.position import START, parse_position

logger = logging.getLogger(__name__)

_OPEN_EPOCH = (files("stoker.core") / "open_epoch.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Epoch:
    """The time during which the log's history is whole."""

    number: int
    """Never 0."""
    opened: bool
    """Whether this process opened it just now."""
    floor: int
    """Where the log begins by right: at its first record, or at the last sweep's cut; START if unknown."""


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
    run_id = _run_id(await link.call_early("INFO", "server"))
    number = secrets.randbits(64) | 1
    how = "look" if read_only else "open"
    group, fence = await link.call_early(
        "EVAL", _OPEN_EPOCH, 2, keys.log, keys.fence, f"{number:016x}", run_id, how
    )
    # Who only looks, and finds no epoch, takes one that no entry has: all are of an older one.
    found = int(group[6:22], 16) if group else number
    opened = found == number and not read_only
    if opened:
        logger.warning("action=epoch_opened epoch=%016x", found, extra={"action": "epoch_opened"})
    return Epoch(found, opened, _floor(fence))


def _floor(fence: bytes) -> int:
    floor = fence.split(b":")[2:3]
    return parse_position(floor[0]) if floor and floor[0] else START


def _run_id(info: bytes) -> str:
    for line in info.split(b"\r\n"):
        if line.startswith(b"run_id:"):
            return line[7:].decode()
    return "unknown"  # a service that hides it: then only the log's loss opens an epoch
