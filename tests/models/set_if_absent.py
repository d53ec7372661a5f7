"""Set-if-absent: who of several callers creates an entry, where a dead or expired one may still be stored.

Modelled: callers that each look (log check and fetch, one step) and then store on condition that what they
found is still there, and a caller that deletes: it appends, and leaves the unlinking to others. The server
may not take a write, or not answer it, which says the same to who stores. No caller's
entry is told from another's by anything that doesn't stand in its header. Time passes; an entry is fresh for
one unit of it, and kept after that. A caller's clock may be ahead of the server's. Where it is a tag of the
callers' entries that is deleted, a load without it, from before all of this, may be stored at any time.

Not modelled: what the server drops when its time is over, which is an absent entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import BLOCKED, TWICE


class Entry(NamedTuple):
    """What is stored, by all that its header says."""

    born: int
    fresh_until: int
    tagged: bool = True


class Creator(NamedTuple):
    """Tries to create the entry, a number of times."""

    left: int
    at: str = "idle"
    found: Entry | None = None
    expired: bool = False
    """What it found is past its time by its own clock, and not dead."""
    seen: int = 0
    ahead: int = 0
    """So much its clock is ahead of the server's."""


class State(NamedTuple):
    """All there is. All records of the log name the key, or all of them the tag."""

    now: int
    log: int
    deletes: int
    loads: int
    refusals: int
    """Writes that the server will not take, or not answer."""
    alone: bool
    """Whether a caller was told that it created the entry, which is in its memory alone."""
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
        Rule(
            "as-judged",
            TWICE,
            "a tag is deleted",
            "what it found is told by all that it was judged by, not only by where it was born",
            "a live entry that was born there, too, is taken for the dead one that was found",
        ),
        Rule(
            "servers-clock",
            TWICE,
            "a clock is ahead",
            "what was found to have expired must have so by the server's clock",
            "whoever's clock is ahead takes what another still has",
        ),
        Rule(
            "server-alone",
            TWICE,
            "a write is refused",
            "what the server did not say that it took is not created, whatever memory could keep",
            "each of two callers has it in a memory of its own",
        ),
    )

    def __init__(
        self,
        without: str | None,
        *,
        creators: tuple[Creator, ...],
        deletes: int = 0,
        time: int = 0,
        by_tag: bool = False,
        refusals: int = 0,
    ) -> None:
        super().__init__(without)
        self._time, self._by_tag = time, by_tag
        self._start = State(0, 0, deletes, int(by_tag), refusals, alone=False, entry=None, creators=creators)
        self._dead_is_absent = self.keeps("dead-is-absent")
        self._still_there = self.keeps("still-there")
        self._as_judged = self.keeps("as-judged")
        self._servers_clock = self.keeps("servers-clock")
        self._server_alone = self.keeps("server-alone")

    def start(self) -> State:
        """Nothing is stored."""
        return self._start

    def steps(self, state: State) -> Steps:
        """A step of time, of the deleter, of the load or of a creator."""
        if state.now < self._time:
            yield "time passes", state._replace(now=state.now + 1), None
        if state.deletes:
            yield (
                f"delete appends {state.log + 1}",
                state._replace(log=state.log + 1, deletes=state.deletes - 1),
                None,
            )
        if state.loads:
            stored = state.entry is None or state.entry.born == 0
            entry = Entry(0, state.now + 1, tagged=False) if stored else state.entry
            yield "the load ends", state._replace(loads=0, entry=entry), None
        for at, creator in enumerate(state.creators):
            if creator.at == "idle" and creator.left:
                yield self._look(state, at, creator)
            elif creator.at == "absent":
                yield self._store(state, at, creator)
                if state.refusals:
                    yield self._is_refused(state, at, creator)

    def _look(self, state: State, at: int, creator: Creator) -> Step[State]:
        entry = state.entry
        alive = self._is_alive(state)
        fresh = entry is not None and entry.fresh_until > state.now + creator.ahead
        present = fresh and (alive or not self._dead_is_absent)
        looked = creator._replace(left=creator.left - 1)
        if not present:
            expired = alive and not fresh
            looked = looked._replace(at="absent", found=entry, expired=expired, seen=state.log)
        after = state._replace(creators=put(state.creators, at, looked))
        return f"c{at} finds {'it' if present else 'none'}", after, BLOCKED if present and not alive else None

    def _store(self, state: State, at: int, creator: Creator) -> Step[State]:
        done = Creator(creator.left, ahead=creator.ahead)
        after, old = state._replace(creators=put(state.creators, at, done)), state.entry
        fresh = old is not None and old.fresh_until > state.now
        if (self._still_there and not self._is_still_there(old, creator.found)) or (
            self._servers_clock and creator.expired and fresh
        ):
            return f"c{at} is told that it is there now", after, None
        twice = (fresh and self._is_alive(state)) or state.alone
        created = after._replace(entry=Entry(creator.seen, state.now + creator.ahead + 1))
        return f"c{at} is told that it created it", created, TWICE if twice else None

    def _is_refused(self, state: State, at: int, creator: Creator) -> Step[State]:
        done = Creator(creator.left, ahead=creator.ahead)
        after = state._replace(creators=put(state.creators, at, done), refusals=state.refusals - 1)
        if self._server_alone:
            return f"c{at} is told that it could not", after, None
        kept = after._replace(alone=True)
        return f"c{at} keeps it, and is told that it created it", kept, TWICE if state.alone else None

    def _is_alive(self, state: State) -> bool:
        entry = state.entry
        return entry is not None and (entry.born >= state.log or (self._by_tag and not entry.tagged))

    def _is_still_there(self, entry: Entry | None, found: Entry | None) -> bool:
        if entry is None or found is None or self._as_judged:
            return entry == found
        return entry.born == found.born


def _setup(
    *creators: Creator, deletes: int = 0, time: int = 0, by_tag: bool = False, refusals: int = 0
) -> Callable[[str | None], SetIfAbsent]:
    return lambda without: SetIfAbsent(
        without, creators=creators, deletes=deletes, time=time, by_tag=by_tag, refusals=refusals
    )


SETUPS: Mapping[str, Callable[[str | None], SetIfAbsent]] = {
    "two creators": _setup(Creator(2), Creator(2), deletes=2),
    "it expires": _setup(Creator(2), Creator(2), deletes=1, time=2),
    "a clock is ahead": _setup(Creator(2), Creator(2, ahead=1), deletes=1, time=2),
    "a tag is deleted": _setup(Creator(2), Creator(2), deletes=2, time=1, by_tag=True),
    "a write is refused": _setup(Creator(2), Creator(2), deletes=1, refusals=2),
}

DEEP: Mapping[str, Callable[[str | None], SetIfAbsent]] = {
    "three creators": _setup(Creator(2), Creator(2), Creator(2, ahead=1), deletes=2, time=3),
    "three creators, and a tag": _setup(
        Creator(2), Creator(1), Creator(2, ahead=1), deletes=2, time=2, by_tag=True
    ),
}
