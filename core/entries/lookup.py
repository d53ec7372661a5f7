"""What a look-up found of an entry, and how it stands."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from stoker.core.entries.entry import Entry, unpack_entry
from stoker.core.errors import EntryError
from stoker.core.log.position import START


class State(enum.StrEnum):
    """What a look-up found."""

    FRESH = "fresh"
    """May be served."""
    STALE = "stale"
    """May be served only while it is loaded again, or its loader fails."""
    DEAD = "dead"
    """Invalidated: never served."""
    ABSENT = "absent"
    """Not there."""
    UNDECODABLE = "undecodable"
    """Bytes that are no entry."""
    UNREACHABLE = "unreachable"
    """The server, or the log, could not be asked."""


@dataclass(slots=True)
class Lookup:
    """The answer to a read."""

    state: State
    data: bytes = b""
    """The stored form, where there is one that could be read."""
    killer: int = START
    """Position of the record that killed it, where it is dead by one that is known."""
    checked: int = START
    """The position up to which the log was known before it was asked for: it was found alive up to there, or
    to where it was born, if that is later."""
    held: Any = None
    """What the memory tier holds, where the entry comes from there."""
    found: Entry | None = None
    unreadable: bytes = b""
    """What is stored, where nobody can read it."""

    @property
    def entry(self) -> Entry | None:
        """The entry, taken apart when it is first asked for."""
        if self.found is None and self.data:
            try:
                self.found = unpack_entry(self.data)
            except EntryError:
                self.data = b""
        return self.found


@dataclass(frozen=True, slots=True)
class EntryState:
    """What planning needs to know of an entry."""

    state: State
    ttl_left: float
    """Seconds until it turns stale; negative when it has."""
    ttl: float
    """Seconds it was fresh for when it was stored."""
    killer: int = START
    """Position of the record that killed it, where it is dead by one that is known."""
