"""Unlinking dead entries: for the sweep, and where a caller asks for their memory back at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stoker.core.entries.entry import FROZEN_BYTES, HEADER_BYTES, frozen_born, header_length
from stoker.core.entries.lookup import State
from stoker.core.entries.tier import PEEK_BYTES
from stoker.core.errors import ReplyError
from stoker.core.link.script import Script
from stoker.core.log.position import START
from stoker.core.settings.policy import Policy

if TYPE_CHECKING:
    from stoker.core.parts import Parts

#: Entries that one call unlinks at most: it holds up everybody else's.
UNLINK_BATCH = 200

_UNLINK = Script("unlink_born.lua")

#: For entries of types that other processes declare: nothing of theirs is dead but by the log.
_UNKNOWN_TYPE = Policy()


async def unlink_what_is_dead(
    manager: Parts, names: Sequence[bytes], epoch: int, target: int = START, *, damaged: bool = False
) -> int:
    """Unlink what can't be shown to be alive, if it is still what was looked at; say how many went.

    Args:
        manager: The cache; all of the log must be known to it.
        names: Entries, by their names in Redis.
        epoch: The log's, when it was found to be known; nothing goes in another one.
        target: What was born before this and can't be read goes too: a sweep is about to trim up to it.
        damaged: Whether what is no entry goes too.

    Raises:
        LinkError: A server can't be reached.
        ReplyError: It refuses.
    """
    heads = await _heads(manager, names)
    if manager.log.epoch != epoch:
        return 0  # what is known of the log is of another time than what was asked for
    dead: list[tuple[bytes, bytes]] = [
        (name, head[:FROZEN_BYTES])
        for name, head in zip(names, heads, strict=True)
        if _is_dead(manager, name, head, target) or (damaged and head and frozen_born(head) is None)
    ]
    if not dead:
        return 0
    if manager.link.is_cluster:
        return sum(await asyncio.gather(*(_UNLINK.run(manager.link, [name], seen) for name, seen in dead)))
    gone = 0
    for start in range(0, len(dead), UNLINK_BATCH):
        part = dead[start : start + UNLINK_BATCH]
        gone += await _UNLINK.run(manager.link, [name for name, _ in part], *(seen for _, seen in part))
    return gone


async def _heads(manager: Parts, names: Sequence[bytes]) -> list[bytes]:
    """Headers and tags of entries; what can't be read must not be passed over as if it were not there.

    Raises:
        LinkError: A server can't be reached.
        ReplyError: It refuses.
    """
    replies = await manager.link.calls([("GETRANGE", name, 0, PEEK_BYTES - 1) for name in names])
    heads: list[bytes] = []
    for name, reply in zip(names, replies, strict=True):
        if isinstance(reply, ReplyError) and not str(reply).startswith("WRONGTYPE"):
            raise reply
        head: bytes = b"" if isinstance(reply, ReplyError) else reply
        if len(head) >= HEADER_BYTES and header_length(head) > len(head):
            head = await manager.link.call("GETRANGE", name, 0, header_length(head) - 1)
        heads.append(head)
    return heads


def _is_dead(manager: Parts, name: bytes, head: bytes, target: int) -> bool:
    """Also of types and format versions that this process doesn't know: their readers trust the sweep."""
    cache_type, key = manager.keys.parse(name)
    policy = manager.config.types.get(cache_type, _UNKNOWN_TYPE)
    lookup, born = manager.tier.judge(cache_type, key, head, policy), frozen_born(head)
    if lookup.state is State.UNDECODABLE:
        return born is not None and born < target
    if lookup.state is State.DEAD:
        return True
    # It may have come back after an earlier sweep had unlinked it; once this one is over, readers trust it.
    return born is not None and born < manager.log.trusted_from and policy.after_rollback != "trust"
