"""Giving the memory of invalidated entries back at once, where a caller asks how many there were.

Correctness rests on the record that killed them; the sweep would unlink them later.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from stoker.core.clock import boottime
from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import glob_escape
from stoker.core.log.scopes import compile_glob, literal_beginning
from stoker.core.maintenance.unlinking import unlink_what_is_dead

if TYPE_CHECKING:
    from stoker.core.reads import Reads

#: A purge ends after so many seconds; what is left is the sweep's.
PURGE_SECONDS = 5.0


async def purge(manager: Reads, cache_type: str, pattern: str) -> int:
    """Unlink the dead entries of a type whose key matches a glob; say how many went.

    What was stored again meanwhile is alive, and stays, in memory too: each entry goes only if it is still
    the one that was found dead. Trouble with the server ends it early.
    """
    policy, matches = manager.policy(cache_type), compile_glob(pattern).fullmatch
    here = 0
    if policy.in_memory:
        here = manager.memory.remove_dead(cache_type, lambda key: matches(key) is not None)
    if not policy.in_redis:
        return here
    ends, gone = boottime() + PURGE_SECONDS, 0
    scanned = manager.keys.entries(cache_type, glob_escape(literal_beginning(pattern)) + "*")
    with contextlib.suppress(LinkError, ReplyError):
        async with contextlib.aclosing(manager.link.scan(scanned)) as steps:
            async for names in steps:
                if not await manager.log.read_back():
                    break
                matching = [name for name in names if matches(manager.keys.parse(name)[1])]
                gone += await unlink_what_is_dead(manager, matching, manager.log.epoch)
                if boottime() > ends:
                    break
    return gone
