"""Reading the log backwards, the newest records first: a process serves after the first of several readings.

Each makes the horizon lower: what was born before it counts as dead until it is reached. Readings are
bounded, so that they hold neither the server nor this process up for long.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from stoker.core.keys import Keys
from stoker.core.log.epochs import floor_of
from stoker.core.log.history import History
from stoker.core.log.position import START, parse_position

#: Records that one reading asks for, and the fields that it should bring at most: records may have many.
FIRST_COUNT = 1_000
MOST_FIELDS = 40_000

Call = Callable[..., Awaitable[Any]]
TakeNotes = Callable[[History, int, Sequence[bytes]], None]


class Backlog:
    """A reading of the log from its end to its beginning, or as far as is kept.

    Args:
        keys: Names the log and its fence.
        history: Takes the records in; may meanwhile take in younger ones.
        take_notes: Called with each record.
        epoch: The log's epoch; records of older ones count, too: what they killed is dead for good.

    Attributes:
        newest: The newest record's position and id.
        epoch_start: The position of the epoch's first record; START while that has not been met.
        done: Whether there is no more to read.
    """

    def __init__(self, keys: Keys, history: History, take_notes: TakeNotes, epoch: int) -> None:
        self._keys = keys
        self._history = history
        self._take_notes = take_notes
        self._epoch = f"{epoch:016x}".encode()
        self._oldest = START
        self._end = b"+"
        self._count = FIRST_COUNT
        self.newest: tuple[int, bytes] = (START, b"0-0")
        self.epoch_start = START
        self.done = False

    async def read(self, call: Call) -> None:
        """Read one step further back, and lower the horizon.

        Args:
            call: Sends a command and returns its reply.

        Raises:
            LinkError: The server does not answer.
            ReplyError: It refuses.
        """
        records = await call("XREVRANGE", self._keys.log, self._end, "-", "COUNT", self._count)
        fields = self._take(records)
        at_beginning = len(records) < self._count
        if at_beginning and not self.done:
            # What begins at its floor was cut by the sweep, which first unlinked what was dead. A log that
            # begins elsewhere was cut by somebody else: what lies before is unknown.
            fence = await call("GET", self._keys.fence) or b""
            floor = floor_of(fence) if fence.startswith(self._epoch) else START
            self._history.swept = max(self._history.swept, floor)
            self._lower(START if self._oldest <= floor else self._oldest)
            self.done = True
        elif records:
            self._lower(self._oldest)
            self._end = b"(" + records[-1][0]
            self._count = max(1, min(FIRST_COUNT, self._count * MOST_FIELDS // max(1, fields)))

    def _take(self, records: Sequence[Any]) -> int:
        """Take records in, from the newest, as many as fit; say how many fields they had."""
        history, count = self._history, 0
        for stream_id, fields in records:
            if history.full or history.crowded:
                self.done = True
                break
            position = parse_position(stream_id)
            count += len(fields) // 2
            history.add_older(position, fields)
            self._take_notes(history, position, fields)
            if fields[:2] == [b"epoch", self._epoch]:
                self.epoch_start = position
            if self.newest[0] == START:
                self.newest = position, stream_id
            self._oldest = position
        return count

    def _lower(self, horizon: int) -> None:
        if not self._history.crowded:
            self._history.horizon = horizon
