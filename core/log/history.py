"""What a process knows of the invalidation log: the last record of each scope, in bounded memory.

Scopes are kept as hashes in a table of a few bytes each (`table`), so a million of them are no texts; a
collision makes two scopes share a record, and one of them a needless miss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stoker.core.log.patterns import Patterns
from stoker.core.log.position import START
from stoker.core.log.scopes import EVERY_COPY, MAX_PATTERN_LENGTH, literal_of, to_field
from stoker.core.log.table import LIMIT, MAX_SCOPES, ScopeTable

#: None of ours is longer.
MAX_PATTERN_BYTES = 4 * MAX_PATTERN_LENGTH

#: Field names of a log record that name scopes, and the prefix of fields that don't.
NOTE_PREFIX = b"_"
_KEY, _TAG, _TYPE, _PATTERN, _EPOCH, _COPY = b"key", b"tag", b"type", b"pattern", b"epoch", b"copy"
EVERY_COPY_VALUE = to_field(EVERY_COPY)[1].encode()
_HASHED = frozenset((_KEY, _TAG, _TYPE))


class History:
    """Answers whether something that was born at a position has been invalidated since.

    Attributes:
        horizon: All records after it are known; what was born before it can't be vouched for.
        everything: The last record that named everything.
        latest: The newest record that named any scope: what was born no earlier was killed by none.
        copies: The last record that named all copies in memory.
        crowded: Whether the oldest scopes have been dropped for want of room.
        swept: What records up to here killed has been unlinked, and they may have been forgotten: entries
            in Redis need them no more, loads that were born before it can't be judged.
    """

    def __init__(self, max_scopes: int = MAX_SCOPES) -> None:
        self._table = ScopeTable(max_scopes)
        self._patterns = Patterns(self._table)
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.horizon = self.everything = self.swept = START
        self.latest = self.copies = START
        self.crowded = False
        self._table.clear()
        self._patterns.clear()

    def add(self, position: int, fields: Sequence[bytes]) -> None:
        """Take in a record that was just appended: a flat list of field names and values."""
        self.add_older(position, fields)
        if self._table.full:
            self.horizon = max(self.horizon, self._table.shrink())
            self.crowded = True

    def add_older(self, position: int, fields: Sequence[bytes]) -> None:
        """Take in a record in any order (the log is read backwards at the start); nothing is forgotten."""
        for name, value in zip(fields[::2], fields[1::2], strict=False):
            if name == _EPOCH or name.startswith(NOTE_PREFIX):
                continue
            if name == _COPY:
                self._note_copy(value, position)
                continue
            self.latest = max(self.latest, position)
            if position >= LIMIT:
                self.everything = max(self.everything, position)  # a stranger's id: no clock shows it
            elif name in _HASHED:
                self._table.note(hash((name, value)), position)
            elif name == _PATTERN:
                self._note_pattern(value, position)
            else:
                # "everything", and all that this version doesn't know.
                self.everything = max(self.everything, position)

    def forget(self, swept: int) -> None:
        """Drop records up to a position, once what they killed has been unlinked."""
        self.swept = max(self.swept, swept)
        self._patterns.forget(swept)
        self._table.forget(swept)

    @property
    def full(self) -> bool:
        """Whether it holds as much as it may."""
        return self._table.full

    def killer(self, cache_type: str, key: str, tags: Iterable[bytes], born: int) -> int:
        """The position of a record after `born` that names the entry, or 0 when nothing killed it.

        `born` must not lie before the horizon: what is not known can't be answered.
        """
        if self.everything > born:
            return self.everything
        name = cache_type.encode()
        find = self._table.last
        if (at := find(hash((_KEY, b"%b:%b" % (name, key.encode()))))) > born:
            return at
        if (at := find(hash((_TYPE, name)))) > born:
            return at
        for tag in tags:
            if (at := find(hash((_TAG, tag)))) > born:
                return at
        if self._patterns:
            return self._patterns.killer(cache_type, key, born)
        return 0

    def copy_killer(self, cache_type: str, key: str, after: int) -> int:
        """The position of a record after a position that names copies in memory of the entry, or 0."""
        if self.copies > after:
            return self.copies
        at = self._table.last(hash((_COPY, b"%b:%b" % (cache_type.encode(), key.encode()))))
        return at if at > after else 0

    @property
    def scopes(self) -> int:
        """Scopes that are kept."""
        return len(self._table) + self._patterns.globs

    def _note_copy(self, value: bytes, position: int) -> None:
        if value == EVERY_COPY_VALUE or position >= LIMIT:
            self.copies = max(self.copies, position)
        else:
            self._table.note(hash((_COPY, value)), position)

    def _note_pattern(self, value: bytes, position: int) -> None:
        if len(value) > MAX_PATTERN_BYTES:
            self.everything = max(self.everything, position)
            return
        text = value.decode(errors="replace")
        literal = literal_of(text)
        if literal is not None and not literal[1]:
            self._table.note(hash((_KEY, literal[0].encode())), position)  # it names one key
            return
        widened = self._patterns.note(text, position)
        if widened is None:
            return
        cache_type, at = widened
        if cache_type:
            self._table.note(hash((_TYPE, cache_type.encode())), at)
        else:
            self.everything = max(self.everything, at)
