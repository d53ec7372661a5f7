"""Commits on a cluster: each goes to its entry's server, which can't see the fence.

So it goes by that server's clock: what began too long ago is not stored; a sweep trims only what is older.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from stoker.core.entries.commits import REPLACING, TAIL, Commit, Commits, Pending, unanswered
from stoker.core.entries.entry import FROZEN_BYTES
from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link.calls import Command, Handler
from stoker.core.link.cluster import ClusterLink
from stoker.core.link.script import Script
from stoker.core.link.wire import settle
from stoker.core.log.knowledge import Log

#: What the script answers, as commits are understood elsewhere.
_MEANINGS = {1: Commit.STORED, 0: Commit.YOUNGER, -2: Commit.FENCED}


class ClusterCommits(Commits):
    """Stores entries on the servers of a cluster."""

    def __init__(self, link: ClusterLink, log: Log, keys: Keys) -> None:
        super().__init__(link, log, keys)
        self._cluster = link
        self._one = Script("commit_cluster.lua", after=REPLACING)
        self._stamping: set[asyncio.Task[None]] = set()

    def _post(self, batch: Sequence[Pending]) -> None:
        vouched = [one for one in batch if one[3] == TAIL]
        if vouched:
            task = asyncio.create_task(self._stamp(vouched), name="stoker-commit")
            self._stamping.add(task)
            task.add_done_callback(self._stamping.discard)
        for one in batch:
            if one[3] != TAIL:
                self._post_one(one)

    async def _stamp(self, batch: Sequence[Pending]) -> None:
        """Look where the log ends, and store what is vouched for as of there."""
        if not await self._log.catch_up():
            for *_, future in batch:
                settle(future, Commit.UNREACHABLE)
            return
        stamp = self._log.epoch.to_bytes(8) + self._log.seen.to_bytes(16)
        for name, stored, ttl_ms, condition, future in batch:
            stamped = stored[: FROZEN_BYTES - len(stamp)] + stamp + stored[FROZEN_BYTES:]
            self._post_one((name, stamped, ttl_ms, condition, future))

    def _post_one(self, one: Pending) -> None:
        name, stored, ttl_ms, condition, future = one
        born = int.from_bytes(stored[FROZEN_BYTES - 16 : FROZEN_BYTES])
        began = self._log.ages.since(born, self._log.proved)
        if int.from_bytes(stored[FROZEN_BYTES - 24 : FROZEN_BYTES - 16]) != self._log.epoch:
            settle(future, Commit.OTHER_EPOCH)
            return
        if not math.isfinite(began):
            settle(future, Commit.FENCED)
            return

        def take(reply: Any) -> None:
            if isinstance(reply, (LinkError, ReplyError)):
                settle(future, unanswered(reply))
            else:
                settle(future, _MEANINGS[reply])

        def send(head: Command, handler: Handler) -> None:
            self._cluster.post_timed(
                name, began, lambda latest: (*head, 1, name, stored, ttl_ms, condition, latest), handler
            )

        try:
            self._one.post(send, take)
        except LinkError:
            settle(future, Commit.UNREACHABLE)
