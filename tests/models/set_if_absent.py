"""Set-if-absent: who of several callers creates an entry, where a dead one may still be stored.

Modelled: callers that each look (log check and fetch, one step) and then store on condition that what they
found is still there, and a caller that deletes: it appends, and leaves the unlinking to others. Every value
is a caller's own.

Not modelled: expiry, which is an absent entry; loads, which an authoritative type has none of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import BLOCKED, TWICE


class Entry(NamedTuple):
    """What is stored: whose it is, and where it was born."""

    whose: int
    born: int


class Creator(NamedTuple):
    """Tries to create the entry, a number of times."""

    left: int
    at: str = "idle"
    found: Entry | None = None
    seen: int = 0


class State(NamedTuple):
    """All there is. All records of the log name the key."""

    log: int
    deletes: int
    entry: Entry | None
    creators: tuple[Creator, ...]


Steps: TypeAlias = Iterator[Step[State]]


class SetIfAbsent(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "dead-is-absent",
            BLOCKED,
            "two creators",
            "set-if-absent takes a dead entry for none",
            "what was deleted can't be created again until it expires",
        ),
        Rule(
            "still-there",
            TWICE,
            "two creators",
            "it stores only if what it found is still what is stored",
            "two callers are both told that they created the entry",
        ),
    )

    def __init__(self, without: str | None, *, deletes: int, creators: tuple[int, ...]) -> None:
        super().__init__(without)
        self._deletes, self._creators = deletes, creators
        self._dead_is_absent = self.keeps("dead-is-absent")
        self._still_there = self.keeps("still-there")

    def start(self) -> State:
        """Nothing is stored."""
        return State(0, self._deletes, None, tuple(Creator(left) for left in self._creators))

    def steps(self, state: State) -> Steps:
        """A step of the deleter or of a creator."""
        if state.deletes:
            yield (
                f"delete appends {state.log + 1}",
                state._replace(log=state.log + 1, deletes=state.deletes - 1),
                None,
            )
        for at, creator in enumerate(state.creators):
            if creator.at == "idle" and creator.left:
                yield self._look(state, at, creator)
            elif creator.at == "absent":
                yield self._store(state, at, creator)

    def _look(self, state: State, at: int, creator: Creator) -> Step[State]:
        entry = state.entry
        alive = entry is not None and entry.born >= state.log
        present = alive if self._dead_is_absent else entry is not None
        looked = (
            Creator(creator.left - 1) if present else Creator(creator.left - 1, "absent", entry, state.log)
        )
        after = state._replace(creators=put(state.creators, at, looked))
        return f"c{at} finds {'it' if present else 'none'}", after, BLOCKED if present and not alive else None

    def _store(self, state: State, at: int, creator: Creator) -> Step[State]:
        after = state._replace(creators=put(state.creators, at, Creator(creator.left)))
        if self._still_there and state.entry != creator.found:
            return f"c{at} is told that it is there now", after, None
        old = state.entry
        twice = old is not None and old != creator.found and old.born >= state.log
        created = after._replace(entry=Entry(at, creator.seen))
        return f"c{at} is told that it created it", created, TWICE if twice else None


def _setup(deletes: int, creators: tuple[int, ...]) -> Callable[[str | None], SetIfAbsent]:
    return lambda without: SetIfAbsent(without, deletes=deletes, creators=creators)


SETUPS: Mapping[str, Callable[[str | None], SetIfAbsent]] = {"two creators": _setup(2, (2, 2))}

DEEP: Mapping[str, Callable[[str | None], SetIfAbsent]] = {"three creators": _setup(3, (2, 2, 2))}
