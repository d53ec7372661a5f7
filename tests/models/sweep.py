"""The sweep: fence, unlinking, trimming, and readers that lag behind it.

Modelled: one key, one writer, one sweep (it may be killed anywhere: then its next step never comes). The
sweep chooses any record as its target, for its safety rests on no age; learns the log to its end; raises the
fence; looks at the entry, and unlinks it if it is dead and still the one that was looked at; trims and
appends the note, in one script. A reader whose last record is gone looks at the log anew: first the records
are read, then the floor, as two steps of the server, while reads go on; so does a process that doubts the log
for whatever reason (a commit was refused), though nothing may be lost. Readers of one process share what it
knows, and any of them may take a note in that says what may be forgotten. Somebody else may cut the log, at
any record. A third client may `touch` the entry.

On Cluster the log is on another node, and fetch and check may run in any order: that a reader looks again
when what may be forgotten has risen since it sent, and that its last record must still be there, is enough
for both.

Not modelled: the age limit that Cluster's commits need, which can't read the fence; two sweeps at once (the
second's trim answers that the first's target is gone); a log that is looked at in more readings than one, the
older records behind; several keys; ages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import LOST, STALE
from tests.models.sweep_rules import RULES
from tests.models.sweep_state import Caller, Entry, Process, Record, State, Sweeper

Steps: TypeAlias = Iterator[Step[State]]


@dataclass(frozen=True)
class Bounds:
    """How much there is to happen."""

    writes: tuple[bool, ...]
    callers: tuple[Caller, ...]
    sweeps: bool = True
    cuts: int = 0
    touches: int = 0
    doubts: int = 0
    any_order: bool = False
    """Whether fetch and check go to two nodes, either first, as on Cluster."""


class Sweeping(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = RULES

    def __init__(self, without: str | None, bounds: Bounds) -> None:
        super().__init__(without)
        self._bounds = bounds
        self._refuses_below = self.keeps("fence-refuses")
        self._anchored = self.keeps("anchor")
        self._floor = self.keeps("floor")
        self._looks_again = self.keeps("look-again")
        self._one_view = self.keeps("one-view")
        order = ["choose", "learn", "raise", "look", "unlink", "trim"]
        if not self.keeps("fence-before-scan"):
            order = ["choose", "learn", "look", "unlink", "raise", "trim"]
        if not self.keeps("scan-before-trim"):
            order = ["choose", "learn", "raise", "trim", "look", "unlink"]
        if not self.keeps("sweeper-learns"):
            order.remove("learn")
        self._after = dict(zip(["idle", *order], [*order, "done"], strict=True))
        self._compares = self.keeps("compare-and-unlink")
        self._in_place = self.keeps("touch-in-place")
        self._keeps_born = self.keeps("touch-keeps-born")

    def start(self) -> State:
        """The log holds the record of its epoch, which is its floor."""
        bounds = self._bounds
        processes = (Process(),) * (1 + max(caller.process for caller in bounds.callers))
        log, sweeper = (Record(1, names=False),), Sweeper(at="idle" if bounds.sweeps else "done")
        return State(
            source=0,
            acked=0,
            writer="idle",
            writes=bounds.writes,
            log=log,
            last=1,
            fence=1,
            floor=1,
            entry=None,
            processes=processes,
            sweeper=sweeper,
            cuts=bounds.cuts,
            touched=None,
            touches=bounds.touches,
            doubts=bounds.doubts,
            callers=bounds.callers,
        )

    def steps(self, state: State) -> Steps:
        """A step of anybody."""
        yield from self._write(state)
        if state.sweeper.at != "done":
            yield from self._sweep(state, state.sweeper)
        if state.cuts:
            for record in state.log[1:]:
                log = tuple(kept for kept in state.log if kept.position >= record.position)
                yield f"somebody cuts before {record.position}", state._replace(log=log, cuts=0), None
        yield from self._touch(state)
        for at, process in enumerate(state.processes):
            if process.at != "known":
                yield self._open(state, at, process)
            elif state.doubts:
                doubted = self._change_view(state, at, process._replace(at="lost"))
                yield f"p{at} doubts the log", doubted._replace(doubts=state.doubts - 1), None
        for at, caller in enumerate(state.callers):
            yield from self._read(state, at, caller)

    def _write(self, state: State) -> Steps:
        if state.writer == "appended":
            yield "writer is told", state._replace(acked=state.source, writer="idle"), None
        elif state.writer == "idle" and state.writes and state.writes[0]:
            changed = state._replace(source=state.source + 1, writer="committed")
            yield f"writer commits {changed.source}", changed, None
        elif state.writes:
            names = state.writes[0]
            record = Record(state.last + 1, names)
            changed = state._replace(
                log=(*state.log, record),
                last=record.position,
                writes=state.writes[1:],
                writer="appended" if names else "idle",
            )
            yield f"writer appends {record.position}{'' if names else ', of another key'}", changed, None

    def _sweep(self, state: State, sweeper: Sweeper) -> Steps:
        step = self._after[sweeper.at]
        at = sweeper._replace(at=step)
        if step == "choose":
            for record in state.log[1:]:
                chosen = state._replace(sweeper=at._replace(target=record.position, horizon=state.floor))
                yield f"sweep chooses {record.position}", chosen, None
        elif step == "learn":
            killer = max((record.position for record in state.log if record.names), default=0)
            begins = state.log[0].position
            horizon = 0 if begins == state.floor or not self._floor else begins
            yield "sweep learns", state._replace(sweeper=at._replace(killer=killer, horizon=horizon)), None
        elif step == "raise":
            yield "sweep raises the fence", state._replace(fence=at.target, sweeper=at), None
        elif step == "look":
            yield "sweep looks", state._replace(sweeper=at._replace(looked=state.entry)), None
        elif step == "unlink":
            yield self._unlink(state, at)
        elif step == "trim":
            yield self._trim(state, at)
        elif step == "done":
            yield "sweep ends", state._replace(sweeper=Sweeper(at="done")), None

    def _unlink(self, state: State, sweeper: Sweeper) -> Step[State]:
        looked, entry, violation = sweeper.looked, state.entry, None
        after = state._replace(sweeper=sweeper._replace(looked=None))
        if looked is not None and (sweeper.killer > looked.born or looked.born < sweeper.horizon):
            if entry == looked or not self._compares:
                after = after._replace(entry=None)
                killers = [record.position for record in state.log if record.names]
                if entry is not None and entry != looked and not any(at > entry.born for at in killers):
                    violation = LOST
            return "sweep unlinks", after, violation
        return "sweep leaves the entry", after, None

    def _trim(self, state: State, sweeper: Sweeper) -> Step[State]:
        target = sweeper.target
        if all(record.position != target for record in state.log):
            return "sweep can't trim: its target is gone", state._replace(sweeper=Sweeper(at="done")), None
        note = Record(state.last + 1, names=False, swept=target)
        kept = (*(record for record in state.log if record.position >= target), note)
        after = state._replace(log=kept, last=note.position, floor=target, sweeper=sweeper)
        return f"sweep trims to {target}", after, None

    def _touch(self, state: State) -> Steps:
        entry, saw = state.entry, state.touched
        if saw is not None:
            written = entry if entry == saw or self._in_place else saw
            if written is not None and not self._keeps_born and entry == saw:
                written = written._replace(born=state.log[-1].position)
            yield "touch writes", state._replace(entry=written, touched=None), None
        elif state.touches and entry is not None:
            yield "touch looks", state._replace(touched=entry, touches=state.touches - 1), None

    def _open(self, state: State, at: int, process: Process) -> Step[State]:
        if process.at == "lost":
            opening = put(state.processes, at, process._replace(at="opening", read=state.log))
            return f"p{at} reads the log anew", state._replace(processes=opening), None
        read, floor = process.read, state.floor
        begins = read[0].position
        changed = Process(
            seen=read[-1].position,
            killer=max((record.position for record in read if record.names), default=0),
            horizon=0 if begins <= floor or not self._floor else begins,
            swept=max(floor, *(record.swept for record in read)),
        )
        return f"p{at} reads the floor, and knows", self._change_view(state, at, changed), None

    def _change_view(self, state: State, at: int, changed: Process) -> State:
        """What a process knows is doubted, or known anew: what is under way counts for neither."""
        callers = tuple(
            caller._replace(void=self._one_view)
            if caller.process == at and caller.at in {"sent", "checked", "found", "fetched"}
            else caller
            for caller in state.callers
        )
        return state._replace(processes=put(state.processes, at, changed), callers=callers)

    def _read(self, state: State, at: int, caller: Caller) -> Steps:
        process, name = state.processes[caller.process], f"r{at}"
        if caller.at == "idle" and caller.left:
            changed = caller._replace(left=caller.left - 1, needs=state.acked)
            yield f"{name} begins", _with(state, at, _send(changed, process)), None
        elif caller.at == "sent":
            yield f"{name} checks", _with(state, at, self._check(state, caller, "checked")), None
            if self._bounds.any_order:
                yield (
                    f"{name} fetches first",
                    _with(state, at, caller._replace(at="found", found=state.entry)),
                    None,
                )
        elif caller.at == "checked":
            yield f"{name} fetches", _with(state, at, caller._replace(at="fetched", found=state.entry)), None
        elif caller.at == "found":
            yield f"{name} checks", _with(state, at, self._check(state, caller, "fetched")), None
        elif caller.at == "fetched":
            yield self._take(state, at, caller, process)
        elif caller.at == "taken":
            yield self._decide(state, at, caller)
        elif caller.at == "waits" and process.at == "known":
            yield f"{name} looks again", _with(state, at, _send(caller, process)), None
        elif caller.at == "loading":
            yield (
                f"{name} loads {state.source}",
                _with(state, at, caller._replace(at="loaded", value=state.source)),
                None,
            )
        elif caller.at == "loaded":
            yield self._store(state, at, caller)

    def _check(self, state: State, caller: Caller, at: str) -> Caller:
        brought = tuple(record for record in state.log if record.position > caller.since)
        anchored = any(record.position == caller.since for record in state.log) or not self._anchored
        return caller._replace(at=at, brought=brought, anchored=anchored)

    def _take(self, state: State, at: int, caller: Caller, process: Process) -> Step[State]:
        """The replies come in: what the check brought enters the table, or shows that the log is another."""
        waits = _with(state, at, Caller(caller.process, caller.left, "waits", caller.needs))
        if caller.void or (process.at != "known" and self._one_view):
            return f"r{at} must look again: its check counts for nothing", waits, None
        if not caller.anchored:
            if process.at == "known":
                waits = self._change_view(waits, caller.process, process._replace(at="lost"))
            return f"r{at} finds its place gone", waits, None
        for record in caller.brought:
            if record.position > process.seen:
                killer = record.position if record.names else process.killer
                swept = max(process.swept, record.swept)
                killer = 0 if killer <= swept and record.swept else killer
                process = process._replace(seen=record.position, killer=killer, swept=swept)
        after = state._replace(processes=put(state.processes, caller.process, process))
        taken = caller._replace(at="taken", brought=(), since=0)
        return f"r{at} takes in", _with(after, at, taken), None

    def _decide(self, state: State, at: int, caller: Caller) -> Step[State]:
        process, found = state.processes[caller.process], caller.found
        idle = Caller(caller.process, caller.left)
        forgot = caller.swept != process.swept
        if process.at != "known" or (forgot and self._looks_again):
            return (
                f"r{at} must look again",
                _with(state, at, idle._replace(at="waits", needs=caller.needs)),
                None,
            )
        if found is not None and found.born >= process.horizon and process.killer <= found.born:
            return (
                f"r{at} hits {found.value}",
                _with(state, at, idle),
                STALE if found.value < caller.needs else None,
            )
        return f"r{at} misses", _with(state, at, idle._replace(at="loading", born=process.seen)), None

    def _store(self, state: State, at: int, caller: Caller) -> Step[State]:
        entry, after = state.entry, _with(state, at, Caller(caller.process, caller.left))
        if caller.born < state.fence and self._refuses_below:
            return f"r{at} may not store", after, None
        if entry is not None and entry.born > caller.born:
            return f"r{at} finds a younger one", after, None
        return (
            f"r{at} stores born {caller.born}",
            after._replace(entry=Entry(caller.value, caller.born)),
            None,
        )


def _send(caller: Caller, process: Process) -> Caller:
    return caller._replace(at="sent", since=process.seen, swept=process.swept)


def _with(state: State, at: int, caller: Caller) -> State:
    return state._replace(callers=put(state.callers, at, caller))


def _setup(bounds: Bounds) -> Callable[[str | None], Sweeping]:
    return lambda without: Sweeping(without, bounds)


_WRITES = (True, False)

SETUPS: Mapping[str, Callable[[str | None], Sweeping]] = {
    "two processes": _setup(Bounds(_WRITES, (Caller(0, 1), Caller(1, 1)))),
    "in any order": _setup(Bounds((True,), (Caller(0, 1), Caller(1, 1)), any_order=True)),
    "one process": _setup(Bounds((True,), (Caller(0, 2), Caller(0, 1)))),
    "a stranger cuts": _setup(Bounds(_WRITES, (Caller(0, 1), Caller(1, 1)), sweeps=False, cuts=1)),
    "touches": _setup(Bounds((True,), (Caller(0, 3),), touches=1)),
    "doubts": _setup(Bounds((True,), (Caller(0, 2), Caller(0, 1)), sweeps=False, doubts=1)),
}

DEEP: Mapping[str, Callable[[str | None], Sweeping]] = {
    "in any order, more records": _setup(Bounds(_WRITES, (Caller(0, 1), Caller(1, 1)), any_order=True)),
    "in any order, one process": _setup(Bounds((True,), (Caller(0, 2), Caller(0, 1)), any_order=True)),
    "more reads": _setup(Bounds(_WRITES, (Caller(0, 2), Caller(1, 1)))),
    "two writes": _setup(Bounds((True, True), (Caller(0, 2), Caller(1, 1)))),
    "doubts, and a sweep": _setup(Bounds((True,), (Caller(0, 2), Caller(0, 1)), doubts=1)),
    "doubts, and a sweep, in any order": _setup(Bounds((True,), (Caller(0, 2),), doubts=1, any_order=True)),
    "a sweep and a stranger": _setup(Bounds(_WRITES, (Caller(0, 1), Caller(1, 1)), cuts=1)),
}
