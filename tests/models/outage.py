"""The memory tier while the server is away, where a type lets it serve on for a while.

Modelled: one key, of which the process holds a copy; records from elsewhere and the process's own; a server
that goes away and comes back, perhaps only to go away again while the log is being read anew (first the epoch
is looked up, then the records are read: two steps); the sweep, in one step. What the process sends to append
may be lost on the way, and its caller may have given up waiting by then. A hit while the server is away is
held to what the process has learnt so far: what it read, what it appended, and what it keeps to append.

Not modelled: for how long it may serve; what others invalidate meanwhile, which it can't know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step
from tests.models.kinds import DISOBEYED


class Record(NamedTuple):
    """A record of the log: the value whose invalidation it is, or a note of the sweep."""

    position: int
    value: int
    swept: int = 0


class Process(NamedTuple):
    """What the process knows, and holds."""

    link: str = "open"
    """`open`; `lost`; `opening`: the epoch has been looked up, the log is being read."""
    seen: int = 1
    killer: int = 0
    swept: int = 0
    kept: int = 0
    """The value whose invalidation it keeps."""
    sent: int = 0
    """The value whose invalidation is on its way."""
    waits: bool = True
    """Whether whoever sent it still waits."""
    learnt: int = 0
    """The newest value whose invalidation it has ever read, appended, or sent in vain."""
    value: int = 0
    checked: int = 1
    """Up to where its copy was held against the log."""


class State(NamedTuple):
    """All there is."""

    source: int
    log: tuple[Record, ...]
    floor: int
    up: bool
    changes: int
    """Times the server goes away or comes back yet."""
    writes: int
    own_writes: int
    sweeps: int
    fills: int
    process: Process


Steps: TypeAlias = Iterator[Step[State]]


class Outage(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "kept-obeyed",
            DISOBEYED,
            "away twice",
            "what a process keeps to append kills its copies at once",
            "it serves what it has itself invalidated",
        ),
        Rule(
            "kept-whoever-waits",
            DISOBEYED,
            "away twice",
            "what could not be appended is kept, also if its caller has given up waiting",
            "it serves what it has itself invalidated, and nobody ever appends it",
        ),
        Rule(
            "known-until-read-anew",
            DISOBEYED,
            "away twice",
            "what was known of the log is forgotten only when the log has been read anew",
            "the server goes away again meanwhile, and what is known to be dead is served",
        ),
        Rule(
            "away-known-from",
            DISOBEYED,
            "away twice",
            "while the server is away, too, a copy from before what may have been forgotten is not served",
            "what killed it was read, and forgotten after a sweep",
        ),
    )

    def __init__(
        self, without: str | None, *, changes: int, writes: int, own_writes: int, fills: int
    ) -> None:
        super().__init__(without)
        self._changes, self._writes, self._own_writes, self._fills = changes, writes, own_writes, fills
        self._kept_obeyed = self.keeps("kept-obeyed")
        self._kept_whoever_waits = self.keeps("kept-whoever-waits")
        self._until_read = self.keeps("known-until-read-anew")
        self._known_from = self.keeps("away-known-from")

    def start(self) -> State:
        """The process has a copy that is alive."""
        return State(
            source=0,
            log=(Record(1, 0),),
            floor=1,
            up=True,
            changes=self._changes,
            writes=self._writes,
            own_writes=self._own_writes,
            sweeps=1,
            fills=self._fills,
            process=Process(),
        )

    def steps(self, state: State) -> Steps:
        """A step of anybody."""
        process = state.process
        if state.changes:
            lost = self._lose(process) if state.up else process
            name = "THE SERVER GOES AWAY" if state.up else "the server is back"
            yield name, state._replace(up=not state.up, changes=state.changes - 1, process=lost), None
        if state.up:
            yield from self._change_log(state)
            yield from self._link(state, process)
        if process.sent and process.waits:
            yield "its caller gives up", state._replace(process=process._replace(waits=False)), None
        if process.sent and state.up:
            yield self._append(state, process)
        if state.own_writes and not process.sent:
            yield self._invalidate(state, process)
        if process.link != "open":
            yield from self._hit(process, state)

    def _change_log(self, state: State) -> Steps:
        last = state.log[-1].position
        if state.writes:
            record = Record(last + 1, state.source + 1)
            changed = state._replace(source=record.value, log=(*state.log, record), writes=state.writes - 1)
            yield f"somebody invalidates {record.position}", changed, None
        if state.sweeps and last > state.floor:
            log = (state.log[-1], Record(last + 1, 0, swept=last))
            yield f"sweep trims to {last}", state._replace(log=log, floor=last, sweeps=0), None

    def _link(self, state: State, process: Process) -> Steps:
        if process.link == "open":
            anchored = any(record.position == process.seen for record in state.log)
            if not anchored:
                yield "its place is gone", state._replace(process=self._lose(process)), None
                return
            if process.seen < state.log[-1].position:
                yield "it reads on", state._replace(process=_learn(process, state.log)), None
            elif state.fills:
                filled = process._replace(value=state.source, checked=process.seen)
                yield f"it loads {state.source}", state._replace(process=filled, fills=state.fills - 1), None
        elif process.link == "lost":
            opening = process._replace(link="opening")
            if not self._until_read:
                opening = opening._replace(killer=0, swept=0)
            yield "it looks the epoch up", state._replace(process=opening), None
        else:
            anew = process._replace(link="open", seen=0, killer=0, swept=state.floor)
            log = state.log
            if process.kept:
                log = (*log, Record(log[-1].position + 1, process.kept))
            read = _learn(anew._replace(kept=0), log)
            yield "it reads the log anew", state._replace(process=read, log=log), None

    def _invalidate(self, state: State, process: Process) -> Step[State]:
        value = state.source + 1
        after = state._replace(source=value, own_writes=state.own_writes - 1)
        if process.link == "open" and state.up:
            sent = process._replace(sent=value, waits=True)
            return "it sends an invalidation", after._replace(process=sent), None
        kept = process._replace(learnt=value, kept=value)
        return "it keeps an invalidation", after._replace(process=kept), None

    def _append(self, state: State, process: Process) -> Step[State]:
        record = Record(state.log[-1].position + 1, process.sent)
        appended = process._replace(sent=0, learnt=max(process.learnt, record.value), killer=record.position)
        after = state._replace(log=(*state.log, record), process=appended)
        return f"it appends {record.position}", after, None

    def _lose(self, process: Process) -> Process:
        """What was on its way is lost, too."""
        lost, sent = process._replace(link="lost", sent=0), process.sent
        if not sent:
            return lost
        kept = sent if process.waits or self._kept_whoever_waits else process.kept
        return lost._replace(kept=kept, learnt=max(process.learnt, sent))

    def _hit(self, process: Process, state: State) -> Steps:
        if self._known_from and process.checked < process.swept:
            return
        if process.killer > process.checked or (self._kept_obeyed and process.kept):
            return
        if process.value < process.learnt:
            yield f"it serves {process.value}", state, DISOBEYED


def _learn(process: Process, log: tuple[Record, ...]) -> Process:
    for record in log:
        if record.position > process.seen:
            process = process._replace(
                seen=record.position,
                killer=record.position if record.value else process.killer,
                learnt=max(process.learnt, record.value),
                swept=max(process.swept, record.swept),
            )
    return process if process.killer > process.swept else process._replace(killer=0)


def _setup(changes: int, writes: int, own_writes: int, fills: int) -> Callable[[str | None], Outage]:
    return lambda without: Outage(without, changes=changes, writes=writes, own_writes=own_writes, fills=fills)


SETUPS: Mapping[str, Callable[[str | None], Outage]] = {"away twice": _setup(3, 1, 1, 1)}

DEEP: Mapping[str, Callable[[str | None], Outage]] = {"away three times": _setup(6, 2, 2, 3)}
