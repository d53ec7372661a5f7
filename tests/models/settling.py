"""Sources that are read from lagging replicas: an invalidation holds for as long as they take to settle.

Modelled: a clock of whole ticks, one writer, one reader that loads from a replica which may be one tick
behind. An entry carries the server's time at which its load started. It is dead if a record stands after its
`born`, or stands no more than the settling time before that start. A read is one step; it is held to what was
acknowledged longer ago than the settling time.

Not modelled: clocks that differ (both times are the server's own), a replica that lags for longer than was
promised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step
from tests.models.kinds import HELD, STALE

LAG = 1
"""A replica shows what was committed so many ticks ago, and perhaps what came since."""

SETTLE = 1
"""What the policy says: no less than the lag."""


class Entry(NamedTuple):
    """What is stored."""

    value: int
    born: int
    started: int
    """What it says of the server's time when its load began."""
    began: int
    """What that time was."""


class State(NamedTuple):
    """All there is."""

    time: int
    commits: tuple[int, ...]
    """When each value was committed: 1, 2, …"""
    records: tuple[int, ...]
    """The time of each record of the log."""
    told: tuple[int, ...]
    """When the writer was told of each."""
    entry: Entry | None
    reader: str
    began: int
    loaded: Entry | None
    reads: int


Steps: TypeAlias = Iterator[Step[State]]

_RULES = (
    Rule(
        "settle",
        STALE,
        "one reader",
        "an invalidation also kills what begins to load within the settling time after it",
        "what a lagging replica still showed is stored as if it were new, and served on",
    ),
    Rule(
        "by-the-clock",
        HELD,
        "one reader",
        "the settling time is counted to the server's time at the load's start, not to the last record read",
        "on a log in which nothing happens no entry ever counts as settled",
    ),
)


class Settling(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = _RULES

    def __init__(self, without: str | None, *, ticks: int, writes: int, reads: int) -> None:
        super().__init__(without)
        self._ticks, self._writes, self._reads = ticks, writes, reads
        self._settles = self.keeps("settle")
        self._by_the_clock = self.keeps("by-the-clock")

    def start(self) -> State:
        """Nothing is stored, nothing invalidated."""
        return State(0, (), (), (), None, "idle", 0, None, self._reads)

    def steps(self, state: State) -> Steps:
        """A tick, or a step of the writer or the reader."""
        if state.time < self._ticks:
            yield "tick", state._replace(time=state.time + 1), None
        if len(state.commits) < self._writes and len(state.told) == len(state.commits):
            commits = (*state.commits, state.time)
            yield f"writer commits {len(commits)}", state._replace(commits=commits), None
        elif len(state.records) < len(state.commits):
            yield "writer appends", state._replace(records=(*state.records, state.time)), None
        elif len(state.told) < len(state.records):
            yield "writer is told", state._replace(told=(*state.told, state.time)), None
        yield from self._read(state)

    def _read(self, state: State) -> Steps:
        if state.reader == "idle" and state.reads:
            yield (
                "reader begins",
                state._replace(reader="begun", began=state.time, reads=state.reads - 1),
                None,
            )
        elif state.reader == "begun":
            yield self._judge(state)
        elif state.reader == "loads" and state.loaded is not None:
            shown = sum(at <= state.time - LAG for at in state.commits)
            for value in range(shown, len(state.commits) + 1):
                loaded = state.loaded._replace(value=value)
                yield (
                    f"reader loads {value} from a replica",
                    state._replace(reader="loaded", loaded=loaded),
                    None,
                )
        elif state.reader == "loaded":
            stored = state._replace(reader="idle", began=0, entry=state.loaded, loaded=None)
            yield "reader stores", stored, None

    def _judge(self, state: State) -> Step[State]:
        entry = state.entry
        due = sum(at < state.began - SETTLE for at in state.told)
        if entry is not None and not self._is_dead(state, entry):
            served = state._replace(reader="idle", began=0)
            return f"reader hits {entry.value}", served, STALE if entry.value < due else None
        started = state.time if self._by_the_clock or not state.records else state.records[-1]
        loads = state._replace(
            reader="loads", began=0, loaded=Entry(0, len(state.records), started, state.time)
        )
        settled = entry is not None and entry.born == len(state.records)
        if entry is not None and settled and all(at + SETTLE < entry.began for at in state.records):
            return "reader misses", loads, HELD
        return "reader misses", loads, None

    def _is_dead(self, state: State, entry: Entry) -> bool:
        if entry.born < len(state.records):
            return True
        return self._settles and any(at + SETTLE >= entry.started for at in state.records)


def _setup(ticks: int, writes: int, reads: int) -> Callable[[str | None], Settling]:
    return lambda without: Settling(without, ticks=ticks, writes=writes, reads=reads)


SETUPS: Mapping[str, Callable[[str | None], Settling]] = {"one reader": _setup(6, 1, 3)}

DEEP: Mapping[str, Callable[[str | None], Settling]] = {"two writes": _setup(6, 2, 2)}
