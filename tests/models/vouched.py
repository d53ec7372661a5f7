"""Bare sets of what callers vouch for now: stamped with the log's end, although a plain `SET` can't see it.

Modelled: one process that sets a key, stamped with the position up to which it has read; the two steps of the
server, the look at the log and the `SET` after it; the new stamp where the log has grown, in place, as of the
look; a writer whose records name the key or something else; a load of another process, which commits unless
a younger entry is there. A live entry is there from the start. All of it happens within a millisecond:
headers differ in where their entries were born, payloads in whose they are.

Not modelled: the script for authoritative types beyond that it is one step, lost history (the set says that
nothing is stored), a look that was cut off (so does it), own records and such as could not be appended yet
(with either, the script stores at once).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step
from tests.models.kinds import LOST, REPLACED, STALE, USELESS

FIRST, SET, LOADED = "first", "set", "loaded"
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
    buried: frozenset[str]
    """Values that were stored, or loaded, when a record named the key."""
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
        "stamped-anew",
        USELESS,
        "derived",
        "a plain set is stamped anew where the log has grown",
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
        "as-of-the-look",
        STALE,
        "derived",
        "the new stamp is how far the look reached, not where the log ends now",
        "what was set, seen and then invalidated comes back",
    ),
    Rule(
        "only-its-own",
        STALE,
        "derived",
        "only the very entry that was set is stamped anew",
        "what another has loaded before an invalidation comes back",
    ),
    Rule(
        "told-by-its-bytes",
        STALE,
        "derived",
        "and that is told by all of its bytes, not by its header",
        "what another has loaded may be born there, and stored at the same time for as long",
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
        self._anew = self.keeps("stamped-anew")
        self._whatever = self.keeps("whatever-it-names")
        self._as_of_look = self.keeps("as-of-the-look")
        self._only_own = self.keeps("only-its-own")
        self._by_bytes = self.keeps("told-by-its-bytes")
        self._script = kind == "authoritative" and self.keeps("script-alone")
        self._authoritative = kind == "authoritative"

    def start(self) -> State:
        """A live entry is stored; nothing was invalidated."""
        return State((), Entry(FIRST, 0), frozenset(), "idle", 0, 0, 0, "idle", 0)

    def steps(self, state: State) -> Steps:
        """A step of the writer, of the setting process or its server, or of the load."""
        if len(state.log) < self._records:
            yield "writer invalidates something else", state._replace(log=(*state.log, False)), None
            yield "writer invalidates the key", self._named(state), None
        yield from self._set(state)
        if state.load == "idle":
            yield "load begins", state._replace(load="loads", load_born=len(state.log)), None
        elif state.load == "loads":
            yield self._commit(state)

    @staticmethod
    def _named(state: State) -> State:
        """What stands there, or is being loaded, is never to be seen again."""
        loading = {LOADED} if state.load == "loads" else set[str]()
        return state._replace(log=(*state.log, True), buried=state.buried | {state.entry.value} | loading)

    def _set(self, state: State) -> Steps:
        end = len(state.log)
        if state.setter == "idle":
            for seen in range(end + 1):
                begun = state._replace(setter="begun", began=end, born=seen)
                yield f"set begins, knowing {seen} of {end}", begun, None
        elif state.setter == "begun" and self._script:
            yield self._end(state._replace(entry=Entry(SET, end), checked=end))
        elif state.setter == "begun":
            yield "server looks at the log", state._replace(setter="looked", checked=end), None
        elif state.setter == "looked":
            stored = state._replace(entry=Entry(SET, state.born), setter="replied")
            took_the_place = self._authoritative and _is_alive(state) and not _is_alive(stored)
            yield "server sets", stored, LOST if took_the_place else None
        elif state.setter == "replied":
            grown = state.log[state.born : state.checked]
            if self._anew and (any(grown) or (grown and self._whatever)):
                yield self._stamp(state)
            else:
                yield self._end(state)

    def _stamp(self, state: State) -> Step[State]:
        own = state.entry == Entry(SET, state.born)
        if not self._by_bytes:
            own = state.entry.born == state.born
        if not own and self._only_own:
            return self._end(state)
        born = state.checked if self._as_of_look else len(state.log)
        return self._end(state._replace(entry=state.entry._replace(born=max(born, state.entry.born))))

    @staticmethod
    def _end(state: State) -> Step[State]:
        entry, done = state.entry, state._replace(setter="done")
        if entry.value in state.buried and _is_alive(state):
            return "set returns", done, STALE
        useless = entry.value == SET and not _is_alive(state) and not any(state.log[state.began :])
        return "set returns", done, USELESS if useless else None

    @staticmethod
    def _commit(state: State) -> Step[State]:
        done = state._replace(load="done")
        if state.entry.born > state.load_born:
            return "load is refused", done, None
        older = state.setter == "done" and state.entry.value == SET and state.load_born < state.checked
        stored = done._replace(entry=Entry(LOADED, state.load_born))
        return "load is stored", stored, REPLACED if older else None


def _is_alive(state: State) -> bool:
    return not any(state.log[state.entry.born :])


def _setup(kind: str, records: int) -> Callable[[str | None], Vouched]:
    return lambda without: Vouched(without, kind=kind, records=records)


SETUPS: Mapping[str, Callable[[str | None], Vouched]] = {
    "derived": _setup("derived", 3),
    "authoritative": _setup("authoritative", 3),
}

DEEP: Mapping[str, Callable[[str | None], Vouched]] = {"more records": _setup("derived", 7)}
