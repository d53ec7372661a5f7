"""The invalidation log of a process that has no server: it is in the process itself, and always known."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any

from stoker.core.log.appending import Receipt
from stoker.core.log.check import Check
from stoker.core.log.kept import Notes
from stoker.core.log.knowledge import Log, T
from stoker.core.log.position import format_position, join_position, parse_position
from stoker.core.log.scopes import Copy, Scope, to_fields

#: Records that `records` can give, and fields that one of them has at most; one with more stands there as
#: one of everything.
KEPT_RECORDS = 1_000
MAX_KEPT_FIELDS = 100


class LocalLog(Log):
    """A log that nobody else appends to. Positions are the clock's, and grow strictly."""

    def __init__(self) -> None:
        super().__init__(self._append_now, _at_once)
        self.epoch = self.last_epoch = secrets.randbits(64) | 1
        self._known = True
        self._records: deque[tuple[int, list[bytes]]] = deque(maxlen=KEPT_RECORDS)
        self.proved = self.last_proved = math.inf
        """There is nothing that this process could not know."""
        self._add(["epoch", f"{self.epoch:016x}"])
        self.epoch_start = self.seen

    def check(self, loop: asyncio.AbstractEventLoop | None = None) -> Check:  # noqa: ARG002
        """A look at the log that is complete already."""
        check = Check(format_position(self.seen).encode(), 1, 0, 0)
        check.complete = check.done = True
        return check

    async def catch_up(self) -> bool:
        """There is nothing to read."""
        return True

    async def read_back(self) -> bool:
        """There is nothing to read."""
        return True

    async def _clock_ms(self) -> int:
        return _now_ms()

    def lose(self) -> None:
        """It can't be lost but with the process."""

    async def resync(self) -> bool:
        """There is nothing to look at anew."""
        return True

    async def records(self, first: int, last_id: str, count: int) -> list[Any]:
        """Return the records from a position up to an id, of the newest that are kept."""
        last = parse_position(last_id)
        found = [
            [format_position(at).encode(), fields] for at, fields in self._records if first <= at <= last
        ]
        return found[:count]

    async def close(self) -> None:
        """There is nothing in the background."""

    async def carry_out(self, work: Coroutine[Any, Any, T], name: str) -> T:  # noqa: ARG002
        """There is nothing to wait for, and nobody else to tell."""
        return await work

    async def _append(self, scopes: Sequence[Scope], notes: Notes, *, keep: bool) -> Receipt:  # noqa: ARG002
        return await self._append_now(scopes, notes)

    async def tell(self, *scopes: Scope | Copy) -> int:
        """Append what overwrites name, at once."""
        return self._add(to_fields(scopes))

    async def _append_now(self, scopes: Sequence[Scope | Copy], notes: Notes) -> Receipt:
        flat = to_fields(scopes) + [text for pair in notes.items() for text in pair]
        return Receipt(format_position(self._add(flat)))

    def _add(self, flat: Sequence[str]) -> int:
        position = max(join_position(_now_ms(), 0), self.seen + 1)
        fields = [text.encode() for text in flat]
        self.history.add(position, fields)
        self._take_notes(self.history, position, fields)
        kept = fields if len(fields) <= 2 * MAX_KEPT_FIELDS else [b"everything", b"1"]
        self._records.append((position, kept))
        self.seen = self._own = position
        self.version += 1
        return position


def _now_ms() -> int:
    return int(time.time() * 1000)


async def _at_once() -> None:
    await asyncio.sleep(0)
