"""Giving the memory of invalidated entries back at once, where a caller asks how many there were.

Correctness rests on the record that killed them; the sweep would unlink them later.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from stoker.core.clock import boottime
from stoker.core.entries.tier import State
from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import glob_escape
from stoker.core.log.scopes import compile_glob

if TYPE_CHECKING:
    from stoker.core.reads import Reads

#: A purge ends after so many seconds; what is left is the sweep's.
PURGE_SECONDS = 5.0

#: Keys that one UNLINK frees at most.
UNLINK_BATCH = 500

#: What a glob begins with that stands for itself.
_LITERAL = re.compile(r"[^*?\[\]\\]*")


async def purge(manager: Reads, cache_type: str, pattern: str) -> int:
    """Unlink the dead entries of a type whose key matches a glob; say how many went.

    What was loaded again meanwhile is alive, and stays. Trouble with the server ends it early.
    """
    policy, matches = manager.policy(cache_type), compile_glob(pattern).fullmatch
    here = 0
    if policy.in_memory:
        for kind, key in list(manager.memory.store.slots):
            here += kind == cache_type and bool(matches(key)) and manager.memory.remove(cache_type, key)
    if not policy.in_redis:
        return here
    ends, gone = boottime() + PURGE_SECONDS, 0
    begin = _LITERAL.match(pattern)
    scanned = manager.keys.entries(cache_type, glob_escape(begin[0] if begin else "") + "*")
    with contextlib.suppress(LinkError, ReplyError):
        async with contextlib.aclosing(manager.link.scan(scanned)) as steps:
            async for names in steps:
                keys = [key for _, key in map(manager.keys.parse, names) if matches(key)]
                gone += await _unlink_dead(manager, cache_type, keys)
                if boottime() > ends:
                    break
    return gone


async def _unlink_dead(manager: Reads, cache_type: str, keys: list[str]) -> int:
    states = await manager.peek(cache_type, keys)
    dead = [
        manager.keys.entry(cache_type, key)
        for key, state in zip(keys, states, strict=True)
        if state is not None and state.state is State.DEAD
    ]
    gone = 0
    for at in range(0, len(dead), UNLINK_BATCH):
        gone += int(await manager.link.call("UNLINK", *dead[at : at + UNLINK_BATCH]))
    return gone
