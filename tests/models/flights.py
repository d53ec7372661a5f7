"""Loads under way in one process, and who may join them.

Modelled: callers of one process that share what it knows of the log, and the loads under way, of which the
newest can be joined. Writers elsewhere and in this process. A record names the key, or a tag of which only
the loaded value tells that it carries it. A caller whose check was answered is held to what was acknowledged
when it began. One that could not ask the server is held to what its own process knows: to its own
invalidations, also those that are kept because the server could not take them. Entries are not stored, so
that every read loads.

A hole, on purpose: who can't ask the server joins a load that began before them, although somebody elsewhere
may have been told of an invalidation since. The alternative is one load per caller just when the cache is
away.

Not modelled: epochs (a load of another one is never joined), loads that still wait for their turn (they are
judged when they have begun), the loads of other processes (`leases`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import DISOBEYED, HOLE, SENT_ON, STALE


class Flight(NamedTuple):
    """A load under way."""

    born: int
    known: int
    """Up to where the process knew of records when it started, its own appends included."""
    kept: int
    """Invalidations that the process had kept until then."""
    at: str = "loading"
    value: int = 0


class Writer(NamedTuple):
    """Changes the source once, invalidates, is told."""

    ours: bool
    """Whether it is in the callers' process."""
    names: str
    """`key` or `tag`."""
    keeps: bool = False
    """Whether the server can't take its record."""
    at: str = "idle"
    value: int = 0
    position: int = 0


class Caller(NamedTuple):
    """Needs the value once."""

    asks: bool = True
    """Whether it can ask the server."""
    at: str = "idle"
    needs: int = 0
    """What was acknowledged, to anybody, when it began."""
    obeys: int = 0
    """What its own process had been told of its own invalidations when it began."""
    known: int = 0
    """How far its process knew the log when it looked for a load."""
    kept: int = 0
    flight: int = 0
    refused: int = 0
    """Results that it waited for, and could not take."""


class State(NamedTuple):
    """All there is."""

    source: int
    acked: int
    obeyed: int
    """The newest value whose invalidation this process's writers were told of, acknowledged or kept."""
    log: tuple[str, ...]
    seen: int
    own: int
    table: tuple[tuple[str, int], ...]
    """The last record of each name that is known here."""
    kept: tuple[str, ...]
    writers: tuple[Writer, ...]
    flights: tuple[Flight, ...]
    callers: tuple[Caller, ...]


Steps: TypeAlias = Iterator[Step[State]]

_RULES = (
    Rule(
        "join-if-alive",
        STALE,
        "elsewhere",
        "a load is joined only if nothing it depends on was invalidated between its start and the joiner's",
        "a reader is given a value that was read before the invalidation it must obey",
    ),
    Rule(
        "tags-of-the-result",
        STALE,
        "elsewhere",
        "the result is judged again when it is there, by its tags too",
        "an invalidation of a tag is not seen, for nobody knew the tags when the load was joined",
    ),
    Rule(
        "joiners-own-position",
        SENT_ON,
        "steady",
        "who waits is held to where the log stood for them, not to its end",
        "under steady invalidations they are sent from load to load",
    ),
    Rule(
        "own-appends-count",
        DISOBEYED,
        "ours, unreachable",
        "one's own appends count as known when a load is joined, also before a check has read so far",
        "a process serves what it has itself invalidated",
    ),
    Rule(
        "kept-count",
        DISOBEYED,
        "kept",
        "a load from before an invalidation that is kept is not joined after it",
        "while the server is away a process serves what it has itself invalidated",
    ),
)


@dataclass(frozen=True)
class Bounds:
    """Who takes part."""

    writers: tuple[Writer, ...]
    callers: tuple[Caller, ...]
    mind_the_hole: bool = False
    """Whether callers who can't ask are held to what was acknowledged to others, too."""


class Joining(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = _RULES

    def __init__(self, without: str | None, bounds: Bounds) -> None:
        super().__init__(without)
        self._bounds = bounds
        self._judges = self.keeps("join-if-alive")
        self._judges_result = self.keeps("tags-of-the-result")
        self._own_position = self.keeps("joiners-own-position")
        self._own_appends = self.keeps("own-appends-count")
        self._kept_count = self.keeps("kept-count")

    def start(self) -> State:
        """Nothing is loaded, nothing invalidated."""
        table = (("key", 0), ("tag", 0))
        return State(0, 0, 0, (), 0, 0, table, (), self._bounds.writers, (), self._bounds.callers)

    def steps(self, state: State) -> Steps:
        """A step of any writer, load or caller."""
        for at, writer in enumerate(state.writers):
            yield from self._write(state, at, writer)
        for at, flight in enumerate(state.flights):
            if flight.at == "loading":
                landed = flight._replace(at="loaded", value=state.source)
                yield (
                    f"f{at} loads {state.source}",
                    state._replace(flights=put(state.flights, at, landed)),
                    None,
                )
            elif flight.at == "loaded":
                landed = flight._replace(at="landed")
                yield f"f{at} lands", state._replace(flights=put(state.flights, at, landed)), None
        for at, caller in enumerate(state.callers):
            yield from self._call(state, at, caller)

    def _write(self, state: State, at: int, writer: Writer) -> Steps:
        def but(changed: Writer) -> tuple[Writer, ...]:
            return put(state.writers, at, changed)

        if writer.at == "idle":
            value = state.source + 1
            changed = writer._replace(at="committed", value=value)
            yield f"w{at} commits {value}", state._replace(source=value, writers=but(changed)), None
        elif writer.at == "committed" and writer.keeps:
            kept, obeyed = (*state.kept, writer.names), max(state.obeyed, writer.value)
            changed = writer._replace(at="done")
            yield (
                f"w{at}'s record is kept",
                state._replace(kept=kept, obeyed=obeyed, writers=but(changed)),
                None,
            )
        elif writer.at == "committed":
            log = (*state.log, writer.names)
            changed = writer._replace(at="appended", position=len(log))
            yield (
                f"w{at} appends {len(log)}:{writer.names}",
                state._replace(log=log, writers=but(changed)),
                None,
            )
        elif writer.at == "appended":
            told = state._replace(
                acked=max(state.acked, writer.value), writers=but(writer._replace(at="done"))
            )
            if writer.ours:
                told = told._replace(obeyed=max(state.obeyed, writer.value))
                told = _note(told, writer.names, writer.position)
                if self._own_appends:
                    told = told._replace(own=max(state.own, writer.position))
            yield f"w{at} is told", told, None

    def _call(self, state: State, at: int, caller: Caller) -> Steps:
        if caller.at == "idle":
            begun = caller._replace(at="begun", needs=state.acked, obeys=state.obeyed)
            yield f"r{at} begins", _with(state, at, begun), None
        elif caller.at == "begun":
            after = state
            if caller.asks:
                for position in range(state.seen + 1, len(state.log) + 1):
                    after = _note(after, state.log[position - 1], position)
                after = after._replace(seen=len(state.log))
            looks = caller._replace(at="looks", known=max(after.seen, after.own), kept=len(after.kept))
            how = f"checks to {len(state.log)}" if caller.asks else "can't ask"
            yield self._look(after, at, looks, f"r{at} {how}")
        elif caller.at == "looks":
            yield self._look(state, at, caller, f"r{at} looks for a load")
        elif state.flights[caller.flight].at == "landed" and caller.at in {"joined", "waits"}:
            yield self._take(state, at, caller)

    def _look(self, state: State, at: int, caller: Caller, name: str) -> Step[State]:
        """Join the newest load if it may serve, else start one, in the turn of the loop that looked."""
        number = len(state.flights) - 1
        if number >= 0 and state.flights[number].at != "landed":
            flight = state.flights[number]
            if not self._judges or self._may_join(state, flight, caller, ("key",)):
                joined = caller._replace(at="joined", flight=number)
                return f"{name}, joins f{number}", _with(state, at, joined), None
        flights = (*state.flights, Flight(state.seen, max(state.seen, state.own), len(state.kept)))
        waits = caller._replace(at="waits", flight=number + 1)
        return f"{name}, starts f{number + 1}", _with(state, at, waits)._replace(flights=flights), None

    def _may_join(self, state: State, flight: Flight, caller: Caller, names: tuple[str, ...]) -> bool:
        if self._kept_count and flight.kept < caller.kept:
            return False
        if flight.known >= caller.known and self._own_position:
            return True
        killed = any(position > flight.born for name, position in state.table if name in names)
        return not killed and not any(name in names for name in state.kept)

    def _take(self, state: State, at: int, caller: Caller) -> Step[State]:
        flight = state.flights[caller.flight]
        judged = caller.at == "joined" and self._judges and self._judges_result
        if judged and not self._may_join(state, flight, caller, ("key", "tag")):
            refused = caller._replace(at="looks", flight=0, refused=caller.refused + 1)
            violation = SENT_ON if refused.refused > 1 else None
            return f"r{at} may not take f{caller.flight}", _with(state, at, refused), violation
        violation = None
        if flight.value < caller.obeys:
            violation = DISOBEYED
        elif flight.value < caller.needs and caller.asks:
            violation = STALE
        elif flight.value < caller.needs and self._bounds.mind_the_hole:
            violation = HOLE
        return f"r{at} takes {flight.value}", _with(state, at, Caller(caller.asks, "done")), violation


def _note(state: State, names: str, position: int) -> State:
    table = tuple((name, max(at, position) if name == names else at) for name, at in state.table)
    return state._replace(table=table)


def _with(state: State, at: int, caller: Caller) -> State:
    return state._replace(callers=put(state.callers, at, caller))


def _setup(bounds: Bounds) -> Callable[[str | None], Joining]:
    return lambda without: Joining(without, bounds)


_KEY, _TAG, _OURS = (
    Writer(ours=False, names="key"),
    Writer(ours=False, names="tag"),
    Writer(ours=True, names="key"),
)
_APPENDS = Writer(ours=True, names="key", at="committed")
_CUT_OFF = Caller(asks=False)

SETUPS: Mapping[str, Callable[[str | None], Joining]] = {
    "elsewhere": _setup(Bounds((_KEY, _TAG), (Caller(),) * 2)),
    "steady": _setup(Bounds((_APPENDS, _APPENDS), (Caller(),) * 3)),
    "ours, unreachable": _setup(Bounds((_OURS,), (Caller(), _CUT_OFF, _CUT_OFF))),
    "kept": _setup(Bounds((Writer(ours=True, names="key", keeps=True),), (Caller(), _CUT_OFF, _CUT_OFF))),
}

HOLES: Mapping[str, Callable[[str | None], Joining]] = {
    "who can't ask joins an earlier load": _setup(Bounds((_KEY,), (Caller(), _CUT_OFF), mind_the_hole=True)),
}

DEEP: Mapping[str, Callable[[str | None], Joining]] = {
    "three callers": _setup(Bounds((_KEY, _TAG), (Caller(),) * 3)),
    "three writers": _setup(Bounds((_KEY, _TAG, _OURS), (Caller(), _CUT_OFF))),
}
