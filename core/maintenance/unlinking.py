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

Seen = tuple[bytes, bytes]
"""An entry's name, and its first bytes as they were seen."""

#: Entries that one call unlinks at most: it holds up everybody else's.
UNLINK_BATCH = 200

_UNLINK = Script("unlink_born.lua")
_UNLINK_KILLED = Script("unlink_killed.lua")

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
    dead: list[Seen] = [
        (name, head[:FROZEN_BYTES])
        for name, head in zip(names, heads, strict=True)
        if _is_dead(manager, name, head, target) or (damaged and head and frozen_born(head) is None)
    ]
    return await _unlink_seen(manager, dead)


async def _unlink_seen(manager: Parts, seen: Sequence[Seen]) -> int:
    """Unlink entries that are still what was looked at; say how many went."""
    if manager.link.is_cluster:
        return sum(await asyncio.gather(*(_UNLINK.run(manager.link, [name], head) for name, head in seen)))
    gone = 0
    for start in range(0, len(seen), UNLINK_BATCH):
        part = seen[start : start + UNLINK_BATCH]
        gone += await _UNLINK.run(manager.link, [name for name, _ in part], *(head for _, head in part))
    return gone


async def unlink_killed(
    manager: Parts, cache_type: str, keys: Sequence[str], epoch: int, position: int
) -> int:
    """Unlink entries that the record at a position of an epoch has killed; say how many went.

    What was stored for its key since is alive, and stays, however late this comes to the server. What is of
    another epoch is left for a sweep: nobody can tell which came first.

    Raises:
        LinkError: A server can't be reached.
        ReplyError: It refuses.
    """
    size = 1 if manager.link.is_cluster else UNLINK_BATCH
    names = [manager.keys.entry(cache_type, key) for key in keys]
    killer = epoch.to_bytes(8) + position.to_bytes(16)
    batches = [names[start : start + size] for start in range(0, len(names), size)]
    return sum(await asyncio.gather(*(_UNLINK_KILLED.run(manager.link, batch, killer) for batch in batches)))


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
