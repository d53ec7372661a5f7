"""What a process knows of invalidations by pattern: the last record of each, in bounded memory.

Almost all patterns are a beginning (`user:5:*`): those are looked up by hash, as other scopes are, however
many there are. All others are matched one by one, so of each type only the newest are kept; an older one that
has to go stands for its whole type, up to its own record.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from stoker.core.log.position import START
from stoker.core.log.scopes import compile_glob, literal_of
from stoker.core.log.table import ScopeTable

logger = logging.getLogger(__name__)

#: Patterns of a type that are matched one by one.
MAX_GLOBS = 128

#: Different lengths of beginnings of a type, in characters: a look-up tries each of them.
MAX_LENGTHS = 64

#: Types with patterns; nobody has so many, but anybody can append.
MAX_TYPES = 1_024

#: Stands for the type where a pattern doesn't name one and may match keys of any.
_ANY = ""

Widened = tuple[str, int]
"""A type of which a pattern can't be kept, and where that stands; no name means every type."""


@dataclass(slots=True)
class _OfType:
    """A type's patterns."""

    lengths: dict[int, int] = field(default_factory=dict[int, int])
    """Lengths of beginnings, each with the last position of any that is so long."""
    globs: dict[str, tuple[re.Pattern[str], int]] = field(
        default_factory=dict[str, tuple[re.Pattern[str], int]]
    )


class Patterns:
    """Answers whether a pattern that matches a key was invalidated after a position.

    Args:
        table: Where beginnings are kept, beside other scopes.
    """

    def __init__(self, table: ScopeTable) -> None:
        self._table = table
        self._types: dict[str, _OfType] = {}
        self._told: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._types)

    @property
    def globs(self) -> int:
        """Patterns that are matched one by one."""
        return sum(len(kept.globs) for kept in self._types.values())

    def clear(self) -> None:
        """Forget all."""
        self._types = {}

    def forget(self, swept: int) -> None:
        """Drop what has no record after a position."""
        for kept in self._types.values():
            kept.lengths = {length: at for length, at in kept.lengths.items() if at > swept}
            kept.globs = {text: known for text, known in kept.globs.items() if known[1] > swept}
        self._types = {name: kept for name, kept in self._types.items() if kept.lengths or kept.globs}

    def note(self, text: str, position: int) -> Widened | None:
        """Take in a pattern of a record, as `<type>:<glob>`; say what must be widened for want of room.

        A pattern that is one key is not for here.
        """
        name, colon, glob = text.partition(":")
        if not colon or literal_of(name) != (name, False):
            name = _ANY
        kept = self._types.get(name)
        if kept is None:
            if len(self._types) >= MAX_TYPES:
                return self._widen(name, position)
            kept = self._types[name] = _OfType()
        literal = literal_of(glob) if name else None
        if literal is not None and _has_room(kept.lengths, length := len(literal[0])):
            kept.lengths[length] = max(kept.lengths.get(length, START), position)
            self._table.note(hash((_OfType, name, literal[0])), position)
            return None
        return self._note_glob(name, kept.globs, text, position)

    def killer(self, cache_type: str, key: str, born: int) -> int:
        """The position of a record after `born` with a pattern that matches the key, or 0."""
        if (own := self._types.get(cache_type)) is not None:
            find = self._table.last
            for length, newest in own.lengths.items():
                if newest > born and (at := find(hash((_OfType, cache_type, key[:length])))) > born:
                    return at
        logical = f"{cache_type}:{key}"
        for pattern, at in self._globs_of(cache_type):
            if at > born and pattern.fullmatch(logical):
                return at
        return START

    def _globs_of(self, cache_type: str) -> Iterator[tuple[re.Pattern[str], int]]:
        for name in (cache_type, _ANY):
            if (kept := self._types.get(name)) is not None:
                yield from kept.globs.values()

    def _note_glob(
        self, name: str, globs: dict[str, tuple[re.Pattern[str], int]], text: str, position: int
    ) -> Widened | None:
        if (known := globs.get(text)) is not None:
            globs[text] = known[0], max(known[1], position)
            return None
        globs[text] = compile_glob(text), position
        if len(globs) <= MAX_GLOBS:
            return None
        oldest = min(globs, key=lambda text: globs[text][1])  # the log is read backwards, too
        return self._widen(name, globs.pop(oldest)[1])

    def _widen(self, name: str, position: int) -> Widened:
        if name not in self._told and len(self._told) < MAX_TYPES:
            self._told.add(name)
            logger.warning(
                "action=patterns_widened type=%s kept=%d",
                name or "*",
                MAX_GLOBS,
                extra={"action": "patterns_widened", "cache_type": name or "*"},
            )
        return name, position


def _has_room(lengths: dict[int, int], length: int) -> bool:
    return length in lengths or len(lengths) < MAX_LENGTHS
