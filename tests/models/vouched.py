"""Bare sets of what callers vouch for now: stamped with the log's end, although a plain `SET` can't see it.

Modelled: one process that sets a key, stamped with the position up to which it has read; the two steps of the
server, the look at the log and the `SET` after it; what the process does with the reply; a writer whose
records name the key or something else; a load of another process, which commits unless a younger entry is
there. A live entry is there from the start.

Not modelled: that the script is no step of its own on the server (it is one), lost history (the look shows
that, and then it goes as where the log has grown), own records and such as could not be appended yet (with
either, the script stores at once).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step
from tests.models.kinds import LOST, REPLACED, USELESS

SET, LOADED = "set", "loaded"
"""Whose value is stored."""


class Entry(NamedTuple):
    """What is stored."""

    value: str
    born: int


class State(NamedTuple):
    """All there is."""

    log: tuple[bool, ...]
    """The records; whether each names the key."""
    entry: Entry
    setter: str
    began: int
    """The log's end when the set began."""
    born: int
    """What the value is stamped with."""
    checked: int
    """The log's end when the server looked at it."""
    load: str
    load_born: int


Steps: TypeAlias = Iterator[Step[State]]

_RULES = (
    Rule(
        "again-where-grown",
        USELESS,
        "derived",
        "a plain set is stored again by the script where the log has grown",
        "what another process has invalidated before the set kills what is set after it",
    ),
    Rule(
        "whatever-it-names",
        REPLACED,
        "derived",
        "and so it is whatever the new records name",
        "a load that began before the set takes its place",
    ),
    Rule(
        "script-alone",
        LOST,
        "authoritative",
        "where the cache is the source, only the script stores what is vouched for",
        "for a moment a dead entry stands in the place of a live one, or for good if the process dies then",
    ),
)


class Vouched(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = _RULES

    def __init__(self, without: str | None, *, kind: str, records: int) -> None:
        super().__init__(without)
        self._records = records
        self._again = self.keeps("again-where-grown")
        self._whatever = self.keeps("whatever-it-names")
        self._script = kind == "authoritative" and self.keeps("script-alone")
        self._authoritative = kind == "authoritative"

    def start(self) -> State:
        """A live entry is stored; nothing was invalidated."""
        return State((), Entry("first", 0), "idle", 0, 0, 0, "idle", 0)

    def steps(self, state: State) -> Steps:
        """A step of the writer, of the setting process or its server, or of the load."""
        if len(state.log) < self._records:
            for names in (False, True):
                what = "the key" if names else "something else"
                yield f"writer invalidates {what}", state._replace(log=(*state.log, names)), None
        yield from self._set(state)
        if state.load == "idle":
            yield "load begins", state._replace(load="loads", load_born=len(state.log)), None
        elif state.load == "loads":
            yield self._commit(state)

    def _set(self, state: State) -> Steps:
        end = len(state.log)
        if state.setter == "idle":
            for seen in range(end + 1):
                begun = state._replace(setter="begun", began=end, born=seen)
                yield f"set begins, knowing {seen} of {end}", begun, None
        elif state.setter == "begun" and self._script:
            yield self._store(state, end, "script stores", "done")
        elif state.setter == "begun":
            yield "server looks at the log", state._replace(setter="looked", checked=end), None
        elif state.setter == "looked":
            yield self._store(state, state.born, "server sets", "replied")
        elif state.setter == "replied":
            grown = state.log[state.born : state.checked]
            if self._again and (any(grown) or (grown and self._whatever)):
                yield self._store(state, end, "script stores it again", "done")
            else:
                yield self._end(state)

    def _store(self, state: State, born: int, says: str, then: str) -> Step[State]:
        stored = state._replace(entry=Entry(SET, born), setter=then)
        took_the_place = self._authoritative and self._is_alive(state) and not self._is_alive(stored)
        if then == "done" and not took_the_place:
            return self._end(stored._replace(checked=max(state.checked, born)))
        return says, stored, LOST if took_the_place else None

    def _end(self, state: State) -> Step[State]:
        useless = state.entry.value == SET and not self._is_alive(state) and not any(state.log[state.began :])
        return "set returns", state._replace(setter="done"), USELESS if useless else None

    def _commit(self, state: State) -> Step[State]:
        done = state._replace(load="done")
        if state.entry.born > state.load_born:
            return "load is refused", done, None
        older = state.setter == "done" and state.entry.value == SET and state.load_born < state.checked
        return (
            "load is stored",
            done._replace(entry=Entry(LOADED, state.load_born)),
            REPLACED if older else None,
        )

    @staticmethod
    def _is_alive(state: State) -> bool:
        return not any(state.log[state.entry.born :])


def _setup(kind: str, records: int) -> Callable[[str | None], Vouched]:
    return lambda without: Vouched(without, kind=kind, records=records)


SETUPS: Mapping[str, Callable[[str | None], Vouched]] = {
    "derived": _setup("derived", 3),
    "authoritative": _setup("authoritative", 3),
}

DEEP: Mapping[str, Callable[[str | None], Vouched]] = {"more records": _setup("derived", 7)}
