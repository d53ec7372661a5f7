"""What goes on beside reads and changes in the freshness runs: sweeps, evictions, duplicates, cuts."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.actors import Part, name_of
from benchmarks.board import Board, Tally
from stoker.core import CacheManager
from stoker.core.errors import LinkError, ReplyError
from stoker.core.maintenance.sweep import sweep

#: Seconds between two mishaps, on average.
PAUSE_SECONDS = 0.08

#: The sweep cuts much closer than it would in earnest.
MINIMUM_AGE_SECONDS = 0.15
MINIMUM_RECORDS = 20


class Keeper:
    """A process of its own, that sweeps, evicts and repeats records."""

    def __init__(self, part: Part, board: Board) -> None:
        self._board = board
        self._chance = random.Random(part.seed)
        self._tally = Tally(board, part.slot)
        self._alone = part.cell.where != "cluster"
        self._manager = CacheManager(part.config, process="keeper", recording=False)

    async def run(self) -> None:
        """Until the run is over."""
        await self._manager.connect()
        ways: list[Callable[[], Awaitable[None]]] = [self._sweep, self._evict, self._evict, self._repeat]
        if self._alone:
            ways.append(self._cut)
        while not self._board.stopping:
            await asyncio.sleep(self._chance.expovariate(1 / PAUSE_SECONDS))
            with contextlib.suppress(LinkError, ReplyError):  # the server may be the one that is dead
                await self._chance.choice(ways)()
        await self._manager.close(1.0)

    async def _sweep(self) -> None:
        done = await sweep(self._manager, minimum_age=MINIMUM_AGE_SECONDS, minimum_records=MINIMUM_RECORDS)
        self._tally("swept", done.status == "done")

    async def _evict(self) -> None:
        """Entries go, as they do from a full server."""
        for _ in range(5):
            name = self._manager.keys.entry("item", name_of(self._chance.randrange(self._board.keys)))
            self._tally("evicted", int(await self._manager.link.call("UNLINK", name)))

    async def _repeat(self) -> None:
        """Records come twice: whoever got no answer appends again."""
        log = self._manager.keys.log
        records: list[Any] = await self._manager.link.call("XREVRANGE", log, "+", "-", "COUNT", 20)
        for _, fields in self._chance.sample(records, min(2, len(records))):
            if not any(name in {b"epoch", b"_swept", b"_reason"} for name in fields[::2]):
                await self._manager.link.call("XADD", log, "NOMKSTREAM", "*", *fields)
                self._tally("duplicated")

    async def _cut(self) -> None:
        """All connections are closed, once in a while."""
        if self._chance.random() < 0.1:
            await self._manager.link.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def keep(part: Part, board: Board) -> None:
    """The main function of the process."""
    asyncio.run(Keeper(part, board).run())
