"""The memory tier of a process that follows the log, and what others do to the entries it holds copies of.

Modelled: one key and a clock of whole ticks; the bound is one tick. The process holds one copy, with the
position up to which it has been held against the log: for a fetch, where the fetch's own check ended; for a
load, its `born`. A follower asks for the log now and then, in three steps (sent, run by the server, taken
in), and so does a fetch, whose result enters the memory in a later turn of the loop than its replies. A step
that never comes is a process that is suspended. The sweep (in one step here: `sweep` has its parts) unlinks,
trims and leaves its note. A hit is one step, possible at any moment, and is held to what was acknowledged
before its bound. In other setups a writer elsewhere overwrites the entry, which no loader can make again, or
shortens its life.

Not modelled: several keys; admission and eviction, which only make misses; epochs (a copy of another one is
dropped); the shortcut that a copy needs no look-ups if nothing was learnt since it was last held against the
log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step
from tests.models.kinds import BEHIND, DISOBEYED, OUTLIVED
from tests.models.memory_rules import RULES

#: A hit may be behind so many ticks.
BOUND = 1

NEVER = -9
"""A time long before the first tick."""


class Entry(NamedTuple):
    """What is stored in Redis."""

    value: int
    born: int
    long: bool = True
    """Whether its life has not been shortened."""


class Record(NamedTuple):
    """A record of the log: it names the `key`, its `copy` in memories, or is a `note` of the sweep."""

    position: int
    names: str
    swept: int = 0


class Copy(NamedTuple):
    """What the memory holds."""

    value: int
    checked: int
    """Up to where it has been held against the log."""
    long: bool


class Process(NamedTuple):
    """What the process knows, and holds."""

    seen: int = 1
    killer: int = 0
    copy_killer: int = 0
    swept: int = 0
    """All records after it are known; those up to it may have been forgotten."""
    proved: int = NEVER
    """When the check was sent that was answered last."""
    obeys: int = 0
    """The newest value whose invalidation it appended itself, and was told of."""
    copy: Copy | None = None


class Check(NamedTuple):
    """A look at the log under way."""

    at: str = "idle"
    sent: int = 0
    since: int = 0
    brought: tuple[Record, ...] = ()
    anchored: bool = True


class Fill(NamedTuple):
    """A fetch under way, and the load that may follow it."""

    at: str = "idle"
    found: Entry | None = None
    reach: int = 0
    swept: int = 0
    born: int = 0
    value: int = 0


class State(NamedTuple):
    """All there is."""

    time: int
    value: int
    """The newest: of the source, or as overwritten."""
    told: tuple[int, ...]
    """When the writer was told of each change: the value 1, the value 2, …"""
    writer: str
    writes: int
    position: int
    """Of the writer's record."""
    log: tuple[Record, ...]
    last: int
    floor: int
    entry: Entry | None
    sweeps: int
    process: Process
    follower: Check
    asks: int
    """Times the follower asks yet."""
    check: Check
    """The fetch's."""
    fill: Fill
    fills: int


Steps: TypeAlias = Iterator[Step[State]]


@dataclass(frozen=True)
class Bounds:
    """How much there is to happen."""

    does: str
    """What the writer does: `invalidates` (elsewhere), `invalidates here`, `overwrites`, `overwrites as
    loaded` (stamped with where its miss stood), `shortens`."""
    ticks: int
    asks: int = 2
    fills: int = 1
    sweeps: int = 0
    stored: bool = True
    """Whether there is an entry from the start."""
    any_order: bool = False
    """Whether fetch and check go to two nodes, either first, as on Cluster."""


class Memory(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = RULES

    def __init__(self, without: str | None, bounds: Bounds) -> None:
        super().__init__(without)
        self._bounds = bounds
        self._holds_against = self.keeps("held-against-the-log")
        self._known_from = self.keeps("known-from")
        self._bound = self.keeps("bound")
        self._proof_is_sending = self.keeps("proof-is-sending")
        self._fetch_checked = self.keeps("fetch-checked-by-itself")
        self._checked_at_sending = self.keeps("unordered-checked-at-sending")
        self._load_checked = self.keeps("load-checked-at-born")
        self._own_at_once = self.keeps("own-append-at-once")
        order = {
            "overwrites": ["append", "store"],
            "overwrites as loaded": ["store", "append"],
            "shortens": ["change", "append"],
        }.get(bounds.does, ["commit", "append"])
        if bounds.does == "overwrites" and not self.keeps("overwrite-appends"):
            order = ["store"]
        if bounds.does == "overwrites as loaded" and not self.keeps("loaded-overwrite-appends"):
            order = ["store"]
        if bounds.does == "overwrites as loaded" and not self.keeps("store-then-append"):
            order = ["append", "store"]
        if bounds.does == "shortens" and not self.keeps("shorten-appends"):
            order = ["change"]
        if bounds.does == "shortens" and not self.keeps("change-then-append"):
            order = ["append", "change"]
        self._after = dict(zip(["idle", *order], [*order, "told"], strict=True))

    def start(self) -> State:
        """An entry may be stored, alive; the log holds the record of its epoch, which is its floor."""
        bounds = self._bounds
        log, entry = (Record(1, "note"),), Entry(0, 1) if bounds.stored else None
        return State(
            time=0,
            value=0,
            told=(),
            writer="idle",
            writes=1,
            position=0,
            log=log,
            last=1,
            floor=1,
            entry=entry,
            sweeps=bounds.sweeps,
            process=Process(),
            follower=Check(),
            asks=bounds.asks,
            check=Check(),
            fill=Fill(),
            fills=bounds.fills,
        )

    def steps(self, state: State) -> Steps:
        """A step of anybody."""
        if state.time < self._bounds.ticks:
            yield "tick", state._replace(time=state.time + 1), None
        yield from self._write(state)
        if state.sweeps:
            yield from self._sweep(state)
        yield from self._follow(state, state.follower)
        yield from self._fetch(state, state.fill)
        yield from self._hit(state)

    def _write(self, state: State) -> Steps:
        step = self._after[state.writer]
        changed = state._replace(writer=step)
        if step == "told":
            process = state.process
            if self._bounds.does == "invalidates here":
                killer = max(process.killer, state.position) if self._own_at_once else process.killer
                process = process._replace(killer=killer, obeys=state.value)
            told = changed._replace(told=(*state.told, state.time), writer="idle", writes=0, process=process)
            yield "writer is told", told, None
        elif not state.writes:
            return
        elif step == "commit":
            yield "writer commits 1", changed._replace(value=1), None
        elif step == "append":
            names = "copy" if self._bounds.does in {"shortens", "overwrites as loaded"} else "key"
            record = Record(state.last + 1, names)
            log = (*state.log, record)
            appended = changed._replace(log=log, last=record.position, position=record.position)
            yield f"writer appends {record.position}:{names}", appended, None
        elif step == "store":
            loaded = self._bounds.does == "overwrites as loaded"
            stored = Entry(1, 1 if loaded else state.position or state.last)
            yield "writer stores 1", changed._replace(value=1, entry=stored), None
        elif step == "change":
            entry = state.entry._replace(long=False) if state.entry else None
            yield "writer shortens the entry's life", changed._replace(entry=entry), None

    def _sweep(self, state: State) -> Steps:
        """Cut the log at its end, so that what was killed must be forgotten."""
        target, entry = state.log[-1].position, state.entry
        if target == state.floor:
            return
        killer = max((record.position for record in state.log if record.names == "key"), default=0)
        if entry is not None and killer > entry.born:
            entry = None
        note = Record(target + 1, "note", swept=target)
        log = (state.log[-1], note)
        after = state._replace(log=log, last=note.position, floor=target, entry=entry, sweeps=0)
        yield f"sweep trims to {target}", after, None

    def _follow(self, state: State, check: Check) -> Steps:
        if check.at == "idle" and state.asks:
            sent = Check("sent", state.time, state.process.seen)
            yield "follower asks", state._replace(follower=sent, asks=state.asks - 1), None
        elif check.at == "sent":
            yield "server answers the follower", state._replace(follower=_run(state, check)), None
        elif check.at == "run":
            process = self._take(state, check)
            yield "follower takes in", state._replace(process=process, follower=Check()), None

    def _take(self, state: State, check: Check) -> Process:
        """Learn what a check brought; where the last known record is gone, read the log anew."""
        process = state.process
        proved = check.sent if self._proof_is_sending else state.time
        brought = check.brought
        if not check.anchored:
            process = process._replace(seen=0, killer=0, copy_killer=0, swept=max(process.swept, state.floor))
            brought, proved = state.log, state.time
        for record in brought:
            if record.position > process.seen:
                process = process._replace(seen=record.position, swept=max(process.swept, record.swept))
                if record.names == "key":
                    process = process._replace(killer=max(process.killer, record.position))
                elif record.names == "copy":
                    process = process._replace(copy_killer=record.position)
        if process.killer <= process.swept:
            process = process._replace(killer=0)
        if process.copy_killer <= process.swept:
            process = process._replace(copy_killer=0)
        return process._replace(proved=max(process.proved, proved))

    def _fetch(self, state: State, fill: Fill) -> Steps:
        process, check = state.process, state.check
        if fill.at == "idle" and state.fills:
            sent = Check("sent", state.time, process.seen)
            begun = Fill("sent", swept=process.swept)
            yield "fetch is sent", state._replace(check=sent, fill=begun, fills=state.fills - 1), None
        elif fill.at == "sent":
            ran = state._replace(check=_run(state, check), fill=fill._replace(at="checked"))
            yield "server runs the fetch's check", ran, None
            if self._bounds.any_order:
                found = fill._replace(at="found", found=state.entry)
                yield "server runs the fetch first", state._replace(fill=found), None
        elif fill.at == "checked":
            fetched = fill._replace(at="fetched", found=state.entry)
            yield "server runs the fetch", state._replace(fill=fetched), None
        elif fill.at == "found":
            ran = state._replace(check=_run(state, check), fill=fill._replace(at="fetched"))
            yield "server runs the fetch's check", ran, None
        elif fill.at == "fetched":
            taken = self._take(state, check)
            # Its own reply says where its check ended: another one may have been taken in first.
            reach = check.brought[-1].position if check.brought else check.since
            if self._bounds.any_order and self._checked_at_sending:
                reach = check.since
            changed = fill._replace(at="taken", reach=reach) if check.anchored else Fill()
            yield "fetch's replies come", state._replace(process=taken, check=Check(), fill=changed), None
        elif fill.at == "taken":
            yield self._keep_fetched(state, fill)
        elif fill.at == "loads":
            yield (
                f"loads {state.value}",
                state._replace(fill=fill._replace(at="loaded", value=state.value)),
                None,
            )
        elif fill.at == "loaded":
            yield self._keep_loaded(state, fill)

    def _keep_fetched(self, state: State, fill: Fill) -> Step[State]:
        process, found = state.process, fill.found
        if fill.swept != process.swept:
            return "fetch must look again", state._replace(fill=Fill()), None
        if found is not None and process.killer <= found.born:
            checked = max(fill.reach, found.born) if self._fetch_checked else process.seen
            kept = process._replace(copy=Copy(found.value, checked, found.long))
            return f"fetched {found.value} enters the memory", state._replace(process=kept, fill=Fill()), None
        if self._bounds.does.startswith("invalidates"):
            return "fetch misses", state._replace(fill=Fill("loads", born=process.seen)), None
        return "fetch misses", state._replace(fill=Fill()), None

    def _keep_loaded(self, state: State, fill: Fill) -> Step[State]:
        checked = fill.born if self._load_checked else state.process.seen
        kept = state.process._replace(copy=Copy(fill.value, checked, long=True))
        entry = state.entry
        if fill.born >= state.floor and (entry is None or entry.born <= fill.born):
            entry = Entry(fill.value, fill.born)
        return (
            f"loaded {fill.value} enters the memory",
            state._replace(process=kept, entry=entry, fill=Fill()),
            None,
        )

    def _hit(self, state: State) -> Steps:
        """A hit changes nothing; only one that may not be is a step."""
        process, copy = state.process, state.process.copy
        if copy is None or (self._bound and state.time - process.proved > BOUND):
            return
        if self._known_from and copy.checked < process.swept:
            return
        if self._holds_against and max(process.killer, process.copy_killer) > copy.checked:
            return
        due = sum(at < state.time - BOUND for at in state.told)
        if copy.value < process.obeys:
            yield f"hit {copy.value}", state, DISOBEYED
        elif self._bounds.does == "shortens":
            if copy.long and due:
                yield f"hit {copy.value}", state, OUTLIVED
        elif copy.value < due:
            yield f"hit {copy.value}", state, BEHIND


def _run(state: State, check: Check) -> Check:
    brought = tuple(record for record in state.log if record.position > check.since)
    anchored = any(record.position == check.since for record in state.log)
    return check._replace(at="run", brought=brought, anchored=anchored)


def _setup(bounds: Bounds) -> Callable[[str | None], Memory]:
    return lambda without: Memory(without, bounds)


SETUPS: Mapping[str, Callable[[str | None], Memory]] = {
    "invalidated elsewhere": _setup(Bounds("invalidates", ticks=3, asks=2, fills=1)),
    "loaded": _setup(Bounds("invalidates", ticks=3, asks=2, fills=1, stored=False)),
    "invalidated and swept": _setup(Bounds("invalidates", ticks=3, asks=2, fills=1, sweeps=1)),
    "invalidated here": _setup(Bounds("invalidates here", ticks=2, asks=1, fills=2)),
    "overwritten": _setup(Bounds("overwrites", ticks=3, asks=2, fills=1)),
    "overwritten as loaded": _setup(Bounds("overwrites as loaded", ticks=3, asks=2, fills=1)),
    "shortened": _setup(Bounds("shortens", ticks=3, asks=2, fills=1)),
    "shortened, in any order": _setup(Bounds("shortens", ticks=3, asks=1, fills=1, any_order=True)),
}

DEEP: Mapping[str, Callable[[str | None], Memory]] = {
    "invalidated and swept, in any order": _setup(
        Bounds("invalidates", ticks=3, asks=2, fills=2, sweeps=1, any_order=True)
    ),
    "invalidated, longer": _setup(Bounds("invalidates", ticks=5, asks=3, fills=2)),
    "swept, longer": _setup(Bounds("invalidates", ticks=4, asks=3, fills=2, sweeps=1)),
    "overwritten and swept": _setup(Bounds("overwrites", ticks=4, asks=3, fills=2, sweeps=1)),
    "overwritten as loaded and swept": _setup(
        Bounds("overwrites as loaded", ticks=4, asks=3, fills=2, sweeps=1)
    ),
    "shortened and swept": _setup(Bounds("shortens", ticks=4, asks=3, fills=2, sweeps=1)),
}
