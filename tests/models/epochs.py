"""Lost history: an evicted log, a server that restarts from a snapshot, or fails over to a replica.

Modelled: one key, one writer and readers, each in a process with a connection of its own, and one loss.
Evicted: the log is gone, with the group that holds its epoch; entries and fence stay. Restarted: log, group,
fence and entry are as they were at some earlier moment, the run id is another, connections are broken; a
failover is the same. Restarted apart: the log's server alone, as on Cluster. After a restart the ids that
were lost are given out again, and the ids of a log that is made anew begin below those of the one that was
lost: clocks may run backwards. (Only the very id that a reader saw last is not made a second time by a server
that has not restarted.) A new connection, and whoever finds its last record gone, looks the epoch up before
it goes on, or opens one: one step here, as in the script.

With `revalidate` an entry of an older epoch is served once more: where the server had lost the record that
killed it, the promise has a *hole*. The model finds it, and shows that it is no wider: what the server kept
is obeyed.

An append that makes a log where there is none would be found out by the last known record and the missing
group, too: that it never does is no rule here.

Not modelled: a service that hides its run id; two losses; several sweeps. Memory drops copies of another
epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.epoch_rules import RULES
from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import HOLE, LOST, STALE

STEP = 10
"""From one position to the next. A log that is made anew begins in the middle of the first step."""


class Entry(NamedTuple):
    """What is stored."""

    value: int
    born: int
    epoch: int


class Record(NamedTuple):
    """A record of the log: the value whose invalidation it is, or the epoch that it opens."""

    position: int
    value: int = 0
    epoch: int = 0


class Server(NamedTuple):
    """What the server holds."""

    log: tuple[Record, ...] = (Record(STEP, epoch=1),)
    """Empty when there is no such key."""
    group: tuple[int, int] | None = (1, 1)
    """The epoch, and the run of the server in which it was opened."""
    fence: int = 1
    """The epoch that the fence names."""
    entry: Entry | None = None


class Process(NamedTuple):
    """What a process knows of the log."""

    run: int = 1
    """The server's run that its connection belongs to."""
    known: bool = True
    epoch: int = 1
    start: int = STEP
    """Where the epoch began."""
    seen: int = STEP
    killer: int = 0


class Caller(NamedTuple):
    """Reads the key, and loads it when there is none."""

    left: int
    at: str = "idle"
    needs: int = 0
    since: int = 0
    brought: tuple[Record, ...] = ()
    anchored: bool = True
    found: Entry | None = None
    born: int = 0
    epoch: int = 0
    value: int = 0


class State(NamedTuple):
    """All there is."""

    source: int
    acked: int
    server: Server
    run: int
    epochs: int
    """Epochs that were opened."""
    snapshot: Server | None
    losses: int
    lost: frozenset[int]
    """Values whose invalidations the server has lost."""
    sweep: str
    writer: str
    writes: int
    writer_run: int
    """The server's run that the writer's connection belongs to."""
    processes: tuple[Process, ...]
    callers: tuple[Caller, ...]


Steps: TypeAlias = Iterator[Step[State]]


@dataclass(frozen=True)
class Bounds:
    """What happens."""

    loss: str
    """`evicted`, `restarted` or `restarted apart`."""
    writes: int
    reads: tuple[int, ...]
    """Of each process, how many."""
    revalidate: bool = False
    mind_the_hole: bool = False
    """Whether what is served through the hole counts as a violation."""
    sweeps: bool = False


class Epochs(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = RULES

    def __init__(self, without: str | None, bounds: Bounds) -> None:
        super().__init__(without)
        self._bounds = bounds
        self._epoch_in_entry = self.keeps("epoch-in-entry")
        self._run_id = self.keeps("run-id")
        self._anchor = self.keeps("anchor")
        self._commit_epoch = self.keeps("commit-epoch")
        self._epoch_start = self.keeps("epoch-start")
        self._older_records = self.keeps("older-records")
        self._sweep_one_epoch = self.keeps("sweep-one-epoch")

    def start(self) -> State:
        """Nothing is stored; the log holds the record of its epoch."""
        bounds = self._bounds
        sweep, callers = "idle" if bounds.sweeps else "done", tuple(Caller(reads) for reads in bounds.reads)
        return State(
            source=0,
            acked=0,
            server=Server(),
            run=1,
            epochs=1,
            snapshot=None,
            losses=1,
            lost=frozenset(),
            sweep=sweep,
            writer="idle",
            writes=bounds.writes,
            writer_run=1,
            processes=(Process(),) * len(callers),
            callers=callers,
        )

    def steps(self, state: State) -> Steps:
        """A step of anybody."""
        yield from self._lose(state)
        yield from self._write(state)
        yield from self._sweep(state)
        for at, caller in enumerate(state.callers):
            yield from self._read(state, at, caller)

    def _lose(self, state: State) -> Steps:
        server, loss = state.server, self._bounds.loss
        if not state.losses:
            return
        if loss == "evicted":
            gone = server._replace(log=(), group=None)
            yield "THE LOG IS EVICTED", state._replace(server=gone, losses=0, lost=_values(server)), None
        elif state.snapshot is None:
            yield "snapshot", state._replace(snapshot=server), None
        else:
            back = state.snapshot
            if loss == "restarted apart":
                back = back._replace(entry=server.entry)
            lost = _values(server) - _values(back)
            after = state._replace(server=back, run=state.run + 1, losses=0, lost=lost, snapshot=None)
            yield "THE SERVER RESTARTS", after, None

    def _open(self, state: State) -> tuple[State, Process]:
        """What the script does, and what the process that ran it knows then."""
        server = state.server
        group = server.group
        mine = group is not None and group[0] == server.fence and (group[1] == state.run or not self._run_id)
        if not (mine and server.log):
            epoch = state.epochs + 1
            log = (*server.log, Record(_next(server), epoch=epoch))
            server = server._replace(log=log, group=(epoch, state.run), fence=epoch)
            state = state._replace(server=server, epochs=epoch)
        epoch = server.fence
        start = next((record.position for record in server.log if record.epoch == epoch), 0)
        counted = (record for record in server.log if self._older_records or record.position > start)
        killer = max((record.position for record in counted if record.value), default=0)
        known = Process(run=state.run, epoch=epoch, start=start, seen=server.log[-1].position, killer=killer)
        return state, known

    def _write(self, state: State) -> Steps:
        server = state.server
        if state.writer == "idle" and state.writes:
            changed = state._replace(source=state.source + 1, writer="committed", writes=state.writes - 1)
            yield f"writer commits {changed.source}", changed, None
        elif state.writer == "committed":
            reconnects = state.writer_run != state.run
            if reconnects or not server.log:
                opened, _ = self._open(state)
                yield "writer looks the epoch up", opened._replace(writer_run=state.run), None
                return
            record = Record(_next(server), value=state.source)
            changed = state._replace(server=server._replace(log=(*server.log, record)), writer="appended")
            yield f"writer appends {record.position}", changed, None
        elif state.writer == "appended":
            yield "writer is told", state._replace(acked=state.source, writer="idle"), None

    def _sweep(self, state: State) -> Steps:
        """Unlink what is dead; then trim to the end of the log, unless it is another."""
        server = state.server
        entry = server.entry
        if state.sweep == "idle" and state.run == 1:
            dead = entry is not None and any(
                record.value and record.position > entry.born for record in server.log
            )
            swept = server._replace(entry=None if dead else entry)
            yield "sweep unlinks what is dead", state._replace(server=swept, sweep="unlinked"), None
        elif state.sweep == "unlinked" and (state.run == 1 or not self._sweep_one_epoch) and server.log:
            if state.run > 1 and (server.group is None or server.group[1] != state.run):
                return  # its connection is a new one: the epoch has been looked up
            trimmed = server._replace(log=server.log[-1:])
            yield "sweep trims", state._replace(server=trimmed, sweep="done"), None

    def _read(self, state: State, at: int, caller: Caller) -> Steps:
        process, name = state.processes[at], f"r{at}"
        connected = process.run == state.run
        if caller.at in {"idle", "waits", "loaded", "sent", "checked"} and not (connected and process.known):
            if caller.at in {"sent", "checked"}:
                yield (
                    f"{name} loses its connection",
                    _with(state, at, Caller(caller.left, "waits", caller.needs)),
                    None,
                )
            opened, known = self._open(state)
            yield (
                f"{name} looks the epoch up",
                opened._replace(processes=put(state.processes, at, known)),
                None,
            )
        elif caller.at == "idle" and caller.left:
            begun = Caller(caller.left - 1, "sent", state.acked, process.seen)
            yield f"{name} begins", _with(state, at, begun), None
        elif caller.at == "waits":
            yield (
                f"{name} looks again",
                _with(state, at, caller._replace(at="sent", since=process.seen)),
                None,
            )
        elif caller.at == "sent":
            log = state.server.log
            anchored = any(record.position == caller.since for record in log) or not self._anchor
            brought = tuple(record for record in log if record.position > caller.since)
            checked = caller._replace(at="checked", brought=brought, anchored=anchored)
            yield f"{name} checks", _with(state, at, checked), None
        elif caller.at == "checked":
            yield (
                f"{name} fetches",
                _with(state, at, caller._replace(at="fetched", found=state.server.entry)),
                None,
            )
        elif caller.at == "fetched":
            yield self._decide(state, at, caller)
        elif caller.at == "loads":
            yield (
                f"{name} loads {state.source}",
                _with(state, at, caller._replace(at="loaded", value=state.source)),
                None,
            )
        elif caller.at == "loaded":
            yield self._store(state, at, caller)

    def _decide(self, state: State, at: int, caller: Caller) -> Step[State]:
        process, found, idle = state.processes[at], caller.found, Caller(caller.left)
        waits = idle._replace(at="waits", needs=caller.needs)
        for record in caller.brought:
            if record.position > process.seen:
                process = process._replace(
                    seen=record.position, killer=record.position if record.value else process.killer
                )
                if record.epoch:
                    process = process._replace(known=False)
        if not caller.anchored:
            process = process._replace(known=False)
        after = state._replace(processes=put(state.processes, at, process))
        if not process.known:
            return f"r{at} finds another log", _with(after, at, waits), None
        if found is not None and self._served(process, found):
            return f"r{at} hits {found.value}", _with(after, at, idle), self._judge(state, caller, found)
        missed = idle._replace(at="loads", born=process.seen, epoch=process.epoch)
        return f"r{at} misses", _with(after, at, missed), None

    def _served(self, process: Process, found: Entry) -> bool:
        born, old = found.born, found.epoch != process.epoch and self._epoch_in_entry
        if old and not self._bounds.revalidate:
            return False
        if old and self._epoch_start:
            born = min(born, process.start)
        return process.killer <= born

    def _judge(self, state: State, caller: Caller, found: Entry) -> str | None:
        if found.value >= caller.needs:
            return None
        if self._bounds.revalidate and state.lost.issuperset(range(found.value + 1, caller.needs + 1)):
            return HOLE if self._bounds.mind_the_hole else None
        return STALE

    def _store(self, state: State, at: int, caller: Caller) -> Step[State]:
        server, after = state.server, _with(state, at, Caller(caller.left))
        entry, old = Entry(caller.value, caller.born, caller.epoch), server.entry
        if self._commit_epoch and server.fence != caller.epoch:
            return f"r{at} may not store: another epoch", after, None
        if old is not None and old.epoch == entry.epoch and old.born > entry.born:
            return f"r{at} finds a younger one", after, None
        lost = old is not None and old.epoch == server.fence != entry.epoch and _alive(old, server)
        after = after._replace(server=server._replace(entry=entry))
        return f"r{at} stores born {entry.born} in epoch {entry.epoch}", after, LOST if lost else None


def _next(server: Server) -> int:
    return server.log[-1].position + STEP if server.log else STEP // 2


def _values(server: Server) -> frozenset[int]:
    return frozenset(record.value for record in server.log if record.value)


def _alive(entry: Entry, server: Server) -> bool:
    return not any(record.value and record.position > entry.born for record in server.log)


def _with(state: State, at: int, caller: Caller) -> State:
    return state._replace(callers=put(state.callers, at, caller))


def _setup(bounds: Bounds) -> Callable[[str | None], Epochs]:
    return lambda without: Epochs(without, bounds)


SETUPS: Mapping[str, Callable[[str | None], Epochs]] = {
    "evicted": _setup(Bounds("evicted", 1, (2, 1))),
    "restarted": _setup(Bounds("restarted", 1, (2, 1))),
    "restarted apart": _setup(Bounds("restarted apart", 1, (2, 1))),
    "evicted, revalidate": _setup(Bounds("evicted", 2, (2,), revalidate=True)),
    "restarted, revalidate": _setup(Bounds("restarted", 1, (2, 1), revalidate=True)),
    "restarted, swept, revalidate": _setup(Bounds("restarted", 1, (2,), revalidate=True, sweeps=True)),
}

HOLES: Mapping[str, Callable[[str | None], Epochs]] = {
    "revalidate, and the server lost the record": _setup(
        Bounds("restarted", 1, (2,), revalidate=True, mind_the_hole=True)
    ),
}

DEEP: Mapping[str, Callable[[str | None], Epochs]] = {
    "restarted, two writes": _setup(Bounds("restarted", 2, (2, 1))),
    "evicted, two writes, revalidate": _setup(Bounds("evicted", 2, (2, 1), revalidate=True)),
    "restarted, two writes, revalidate": _setup(Bounds("restarted", 2, (2, 1), revalidate=True)),
}
