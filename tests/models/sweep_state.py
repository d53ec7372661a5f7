"""What there is in the model of the sweep; the model is `sweep`."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """What is stored."""

    value: int
    born: int


class Record(NamedTuple):
    """A record of the log."""

    position: int
    names: bool
    """Whether it names the key."""
    swept: int = 0
    """What it says may be forgotten."""


class Process(NamedTuple):
    """What a process knows of the log."""

    seen: int = 1
    killer: int = 0
    horizon: int = 0
    swept: int = 1
    at: str = "known"
    """`lost`: it must look at the log anew; `opening`: it has read the records, and asks where they begin by
    right."""
    read: tuple[Record, ...] = ()
    """What it has read anew."""


class Sweeper(NamedTuple):
    """One sweep."""

    at: str = "idle"
    target: int = 0
    killer: int = 0
    horizon: int = 0
    looked: Entry | None = None


class Caller(NamedTuple):
    """Reads the key, and loads it when there is none."""

    process: int
    left: int
    at: str = "idle"
    needs: int = 0
    since: int = 0
    brought: tuple[Record, ...] = ()
    """What its check read."""
    anchored: bool = True
    """Whether the last record that was known is still there."""
    void: bool = False
    """Whether the log was doubted, or known anew, since its check was asked for."""
    found: Entry | None = None
    swept: int = 0
    """What might be forgotten, as far as was known when it was sent."""
    born: int = 0
    value: int = 0


class State(NamedTuple):
    """All there is."""

    source: int
    acked: int
    writer: str
    writes: tuple[bool, ...]
    """Of each record that is still to come, whether it names the key."""
    log: tuple[Record, ...]
    last: int
    """The position that was given last."""
    fence: int
    floor: int
    entry: Entry | None
    processes: tuple[Process, ...]
    sweeper: Sweeper
    cuts: int
    touched: Entry | None
    touches: int
    doubts: int
    callers: tuple[Caller, ...]
