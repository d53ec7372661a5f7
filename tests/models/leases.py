"""Leases: one load of a key in the fleet, by whoever holds its lease.

Modelled: processes that each need the key once. A strict look-up is one step here. After a miss a process
asks for the lease, and is answered whether what it found is still what is stored; if somebody has the lease
it listens, and asks once more, for the holder may have ended in between. It is told when a load ends, and
looks again; told nothing, it asks for the lease again after a while. It takes a lease over when it knows of a
record that kills what the holder loads; told that nothing was stored, it loads without one. A holder may die.
Its lease lapses then; one of a holder that lives lapses only if the holder was suspended for so long.
Messages may be lost.

Every state must be able to reach one in which all living processes have their value.

Not modelled: how long anything takes; a third holder (who has waited for two loads without a lease); joined
loads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import SECOND, STALE
from tests.models.lease_rules import RULES


class Entry(NamedTuple):
    """What is stored."""

    value: int
    born: int


class Process(NamedTuple):
    """Needs the key once."""

    at: str = "idle"
    needs: int = 0
    seen: int = 0
    """How far it has read the log, all records of which name the key."""
    found: Entry | None = None
    """What it saw stored before it asked for the lease."""
    listens: bool = False
    leased: bool = False
    """Whether it got the lease."""
    holds: bool = False
    """Whether it loads as a holder whose lease has neither lapsed nor been taken over."""
    told: str = ""
    """The message that waits for it."""
    brought: int = 0
    """The value that the message is about."""
    value: int = 0
    born: int = 0


class State(NamedTuple):
    """All there is."""

    source: int
    acked: int
    writer: str
    writes: int
    log: int
    entry: Entry | None
    holder: int
    """Who has the lease, or -1."""
    lease_born: int
    """Where the log stood for the holder when it took it."""
    deaths: int
    lapses: int
    failures: int
    calm: bool
    """No holder has failed, died, been suspended for too long, or been overtaken by a record."""
    processes: tuple[Process, ...]


Steps: TypeAlias = Iterator[Step[State]]

FREE = -1
_LOADING = frozenset(("loads", "stores"))
_ENDED = frozenset(("done", "dead"))


@dataclass(frozen=True)
class Bounds:
    """How much there is to happen."""

    processes: int
    writes: int = 0
    deaths: int = 0
    lapses: int = 0
    failures: int = 0
    by_tag: bool = False
    """Whether records name a tag of the value, so that nobody can tell from them that a load is overtaken."""


class Leases(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = RULES
    must_end: ClassVar[bool] = True

    def __init__(self, without: str | None, bounds: Bounds) -> None:
        super().__init__(without)
        self._bounds = bounds
        self._looks_after_waiting = self.keeps("looks-after-waiting")
        self._only_if_free = self.keeps("only-if-free")
        self._looks_when_granted = self.keeps("looks-when-granted")
        self._own_token = self.keeps("own-token")
        self._lapses = self.keeps("lapses")
        self._asks_again = self.keeps("asks-again")

    def start(self) -> State:
        """Nothing is stored, nobody has the lease."""
        bounds = self._bounds
        return State(
            source=0,
            acked=0,
            writer="idle",
            writes=bounds.writes,
            log=0,
            entry=None,
            holder=FREE,
            lease_born=0,
            deaths=bounds.deaths,
            lapses=bounds.lapses,
            failures=bounds.failures,
            calm=True,
            processes=(Process(),) * bounds.processes,
        )

    def finished(self, state: State) -> bool:
        """Whether everybody who lives has their value."""
        return all(process.at in _ENDED for process in state.processes)

    def steps(self, state: State) -> Steps:
        """A step of the writer, the server's clock, or a process."""
        if state.writer == "idle" and state.writes:
            changed = state._replace(source=state.source + 1, writer="committed", writes=state.writes - 1)
            yield f"writer commits {changed.source}", changed, None
        elif state.writer == "committed":
            changed = state._replace(log=state.log + 1, writer="appended")
            yield f"writer appends {changed.log}", changed, None
        elif state.writer == "appended":
            yield "writer is told", state._replace(acked=state.source, writer="idle"), None
        yield from self._lapse(state)
        for at, process in enumerate(state.processes):
            if process.told:
                lost = process._replace(told="", brought=0)
                yield f"p{at}'s message is lost", _with(state, at, lost), None
            yield from self._go(state, at, process)

    def _lapse(self, state: State) -> Steps:
        holder = state.holder
        if holder == FREE or not self._lapses:
            return
        dead = state.processes[holder].at == "dead"
        if dead or state.lapses:
            lapsed = _with(state, holder, state.processes[holder]._replace(holds=False))
            left = state.lapses - (not dead)
            yield (
                f"p{holder}'s lease lapses",
                lapsed._replace(holder=FREE, lease_born=0, lapses=left, calm=False),
                None,
            )

    def _go(self, state: State, at: int, process: Process) -> Steps:
        if process.at == "idle":
            begun = process._replace(at="looks", needs=state.acked)
            yield f"p{at} begins", _with(state, at, begun), None
        elif process.at in {"looks", "looks again", "looks as holder"}:
            yield self._look(state, at, process)
        elif process.at in {"asks", "asks again"}:
            yield self._ask(state, at, process)
        elif process.at == "waits":
            if process.told:
                yield self._hear(state, at, process)
            if self._asks_again:
                yield f"p{at} has waited", _with(state, at, process._replace(at="asks again")), None
        elif process.at == "loads":
            yield (
                f"p{at} loads {state.source}",
                _with(state, at, process._replace(at="stores", value=state.source)),
                None,
            )
            if state.failures:
                failed = _with(state, at, Process(at="done"))._replace(failures=0, calm=False)
                yield f"p{at}'s loader fails", self._release(failed, at, process, "not stored"), None
        elif process.at == "stores":
            yield self._store(state, at, process)
        if state.deaths and process.at in _LOADING and process.holds:
            yield f"p{at} dies", _with(state, at, Process(at="dead"))._replace(deaths=0, calm=False), None

    def _look(self, state: State, at: int, process: Process) -> Step[State]:
        entry = state.entry
        looked = process._replace(seen=state.log)
        if entry is not None and entry.born >= state.log:
            after = self._release(_with(state, at, Process(at="done")), at, process, "stored", entry.value)
            return f"p{at} hits {entry.value}", after, STALE if entry.value < process.needs else None
        if process.at == "looks as holder":
            loads = _with(state, at, looked._replace(at="loads", born=state.log))
            return f"p{at} finds none, loads", loads, _second(state, at, holds=process.holds)
        following = "asks" if process.at == "looks" else "asks again"
        return f"p{at} finds none", _with(state, at, looked._replace(at=following, found=entry)), None

    def _ask(self, state: State, at: int, process: Process) -> Step[State]:
        holder = state.holder
        granted = process._replace(at="loads", born=process.seen, leased=True, holds=True, told="", brought=0)
        if holder == FREE or not self._only_if_free:
            after = state._replace(holder=at, lease_born=process.seen)
            if (process.listens or state.entry != process.found) and self._looks_when_granted:
                return f"p{at} gets the lease", _with(after, at, granted._replace(at="looks as holder")), None
            return f"p{at} gets the lease", _with(after, at, granted), _second(state, at, holds=True)
        if process.listens and state.lease_born < process.seen and not self._bounds.by_tag:
            overtaken = state.processes[holder]._replace(holds=False)
            after = _with(state, holder, overtaken)._replace(holder=at, lease_born=process.seen, calm=False)
            return f"p{at} takes the lease over from p{holder}", _with(after, at, granted), None
        if process.listens:
            return f"p{at} waits on", _with(state, at, process._replace(at="waits")), None
        listens = process._replace(at="asks again", listens=True)
        return f"p{at} finds p{holder} loading, listens", _with(state, at, listens), None

    def _hear(self, state: State, at: int, process: Process) -> Step[State]:
        heard = process._replace(told="", brought=0)
        if not self._looks_after_waiting and process.told == "stored":
            violation = STALE if process.brought < process.needs else None
            return f"p{at} takes {process.brought}", _with(state, at, Process(at="done")), violation
        if process.told == "stored":
            return f"p{at} is told", _with(state, at, heard._replace(at="looks again")), None
        alone = heard._replace(at="loads", born=process.seen)
        return f"p{at} is told that there is none, loads alone", _with(state, at, alone), None

    def _store(self, state: State, at: int, process: Process) -> Step[State]:
        """Commit, and give the lease back."""
        entry = Entry(process.value, process.born)
        after = _with(state, at, Process(at="done"))
        if state.entry is None or state.entry.born <= entry.born:
            after = after._replace(entry=entry)
        after = self._release(after, at, process, "stored", process.value)
        return f"p{at} stores {process.value} born {process.born}", after, None

    def _release(self, state: State, at: int, process: Process, message: str, value: int = 0) -> State:
        """Give a lease back, if it is this holder's, and tell who listens; of a failure only if it is."""
        if not process.leased:
            return state
        own = state.holder == at
        if own or not self._own_token:
            state = state._replace(holder=FREE, lease_born=0)
        if message == "not stored" and not own:
            return state
        processes = tuple(
            other._replace(told=message, brought=value) if other.listens and not other.leased else other
            for other in state.processes
        )
        return state._replace(processes=processes)


def _second(state: State, at: int, *, holds: bool) -> str | None:
    """Whether a holder's load that begins is one too many: beside another's, or of what is stored alive."""
    if not holds:
        return None
    others = (other for number, other in enumerate(state.processes) if number != at)
    beside = any(other.at in _LOADING and other.holds for other in others)
    alive = state.entry is not None and state.entry.born >= state.log
    return SECOND if beside or (alive and state.calm) else None


def _with(state: State, at: int, process: Process) -> State:
    return state._replace(processes=put(state.processes, at, process))


def _setup(bounds: Bounds) -> Callable[[str | None], Leases]:
    return lambda without: Leases(without, bounds)


SETUPS: Mapping[str, Callable[[str | None], Leases]] = {
    "two processes": _setup(Bounds(2, writes=1, failures=1)),
    "a tag": _setup(Bounds(2, writes=1, by_tag=True)),
    "a lease lapses": _setup(Bounds(3, lapses=1, failures=1)),
    "a holder dies": _setup(Bounds(3, deaths=1, failures=1)),
}

DEEP: Mapping[str, Callable[[str | None], Leases]] = {
    "four processes": _setup(Bounds(4)),
    "all at once": _setup(Bounds(3, writes=1, deaths=1, lapses=1, failures=1)),
}
