"""Counts of the loads that the database had to answer, by who asked: a reader, or warming.

The counts live in a small file beside the database, shared by all processes, so that they are there after
any of these was killed, and owe nothing to what the cache says of itself.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Literal, get_args

Origin = Literal["reader", "warm"]
Kind = Literal["product", "category"]

_COUNT = struct.Struct("<q")
_PLACES = {
    (origin, kind): _COUNT.size * place
    for place, (origin, kind) in enumerate((o, k) for o in get_args(Origin) for k in get_args(Kind))
}


class Ledger:
    """The shared counters: one 64-bit number for each origin and kind."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def count(self, origin: Origin, kind: Kind) -> None:
        """Add one load, safe against other processes."""
        place = _PLACES[origin, kind]
        fcntl.lockf(self._file, fcntl.LOCK_EX, _COUNT.size, place)
        try:
            os.pwrite(self._file, _COUNT.pack(self._read(place) + 1), place)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _COUNT.size, place)

    def totals(self) -> dict[Origin, int]:
        """Loads since the database was made, by origin."""
        totals: dict[Origin, int] = dict.fromkeys(get_args(Origin), 0)
        for (origin, _), place in _PLACES.items():
            totals[origin] += self._read(place)
        return totals

    def close(self) -> None:
        """Close the file; the counts stay."""
        os.close(self._file)

    def _read(self, place: int) -> int:
        raw = os.pread(self._file, _COUNT.size, place)
        return int(_COUNT.unpack(raw)[0]) if len(raw) == _COUNT.size else 0
