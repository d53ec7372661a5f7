"""Whether what a read returned is as new as it must be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.board import Board, Tally


class Noted(NamedTuple):
    """What a reader notes before its read begins."""

    key: int
    began: int
    """By the monotonic clock, in ns."""
    acknowledged: int
    """The newest version whose invalidation was acknowledged."""
    invalidated: int
    """The newest version that this process invalidated itself, acknowledged or not: it obeys that at once."""


class Judge:
    """Judges the reads of one process.

    Args:
        board: The truth.
        tally: What is counted.
        note: Remembers an event of a key.
        bound: Seconds that a read may be behind; 0 for strict reads.
        hole_allowed: Whether stale reads are only counted.
    """

    def __init__(
        self,
        board: Board,
        tally: Tally,
        note: Callable[[str, int, Any], None],
        bound: float,
        *,
        hole_allowed: bool,
    ) -> None:
        self._board = board
        self._tally = tally
        self._note = note
        self._bound = int(bound * 1e9)
        self._hole_allowed = hole_allowed
        self._invalidated: dict[int, int] = {}

    def obeys(self, key: int, version: int) -> None:
        """This process invalidated a version: it must not serve what was before from now on."""
        self._invalidated[key] = max(version, self._invalidated.get(key, 0))

    def before(self, key: int) -> Noted:
        """To be asked before a read begins."""
        acknowledged = self._board.acknowledged(key)
        return Noted(key, time.monotonic_ns(), acknowledged, self._invalidated.get(key, 0))

    def __call__(self, noted: Noted, value: Any, *, cached: bool) -> None:
        """Judge a read: None is a miss.

        Raises:
            AssertionError: The value is another key's.
        """
        key, began, acknowledged, invalidated = noted
        tally = self._tally
        tally("reads")
        if value is None:
            tally("misses")
            return
        version: int = value["version"]
        if value["key"] != key:
            raise AssertionError(f"asked for {key}, got {value}")
        took = (time.monotonic_ns() - began) / 1e6
        self._note(
            f"read for {took:.3f} ms, {'hit' if cached else 'loaded'}, floor {acknowledged}", key, version
        )
        if acknowledged or invalidated:
            tally("checked")
            tally("from_cache", cached)
        if version >= acknowledged and version >= invalidated:
            return
        if self._bound and version >= invalidated:
            self._judge_lag(key, began, version)
        else:
            self._found(key, version, max(acknowledged, invalidated))

    def _judge_lag(self, key: int, began: int, version: int) -> None:
        due = self._board.acknowledged_before(key, began - self._bound)
        since = self._board.behind_since(key, version)
        if due is None or since is None:
            self._tally("unjudged")
        elif version < due:
            self._found(key, version, due)
        else:
            self._tally("lagging")
            self._tally.lag(max(0, began - since))

    def _found(self, key: int, version: int, due: int) -> None:
        self._tally("stale")
        self._note(f"STALE, due {due}", key, version)
        if not self._hole_allowed:
            self._board.find(key)
