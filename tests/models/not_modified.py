"""Conditional loads: a source that says "not modified", and an entry that is born anew with its old value.

Modelled: a writer, a reader (one step: check and fetch), and one conditional load: it looks at the entry,
asks the source whether that value is still right, and stores it again, as born where the question began. The
commit keeps an entry that was born later.

Not modelled: the value's tags, what a source does that calls two different values the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step
from tests.models.kinds import STALE


class Entry(NamedTuple):
    """What is stored."""

    value: int
    born: int


class State(NamedTuple):
    """All there is. All records of the log name the key."""

    source: int
    acked: int
    writer: str
    writes: int
    log: int
    entry: Entry
    load: str
    offered: Entry
    """The value that the source is asked about, and where the question began."""
    same: bool
    loads: int
    reader: str
    needs: int


Steps: TypeAlias = Iterator[Step[State]]


class NotModified(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "born-at-question",
            STALE,
            "one load",
            '"not modified" is born where the question to the source began',
            "an invalidation between the source's answer and the commit is passed over",
        ),
    )

    def __init__(self, without: str | None, *, writes: int, loads: int) -> None:
        super().__init__(without)
        self._writes, self._loads = writes, loads
        self._at_question = self.keeps("born-at-question")

    def start(self) -> State:
        """An entry is stored, alive."""
        return State(
            source=0,
            acked=0,
            writer="idle",
            writes=self._writes,
            log=0,
            entry=Entry(0, 0),
            load="idle",
            offered=Entry(0, 0),
            same=False,
            loads=self._loads,
            reader="idle",
            needs=0,
        )

    def steps(self, state: State) -> Steps:
        """A step of the writer, the load or the reader."""
        if state.writer == "idle" and state.writes:
            changed = state._replace(source=state.source + 1, writer="committed", writes=state.writes - 1)
            yield f"writer commits {changed.source}", changed, None
        elif state.writer == "committed":
            yield (
                f"writer appends {state.log + 1}",
                state._replace(log=state.log + 1, writer="appended"),
                None,
            )
        elif state.writer == "appended":
            yield "writer is told", state._replace(acked=state.source, writer="idle"), None
        yield from self._ask(state)
        if state.reader == "idle":
            yield "reader begins", state._replace(reader="begun", needs=state.acked), None
        else:
            value, born = state.entry
            violation = STALE if born >= state.log and value < state.needs else None
            yield f"reader finds {value}", state._replace(reader="idle", needs=0), violation

    def _ask(self, state: State) -> Steps:
        if state.load == "idle" and state.loads:
            offered = Entry(state.entry.value, state.log)
            yield "load begins", state._replace(load="asks", offered=offered, loads=state.loads - 1), None
        elif state.load == "asks":
            same = state.source == state.offered.value
            answer = "not modified" if same else f"{state.source}"
            yield f"source says {answer}", state._replace(load="stores", same=same), None
        elif state.load == "stores":
            value, born = state.offered
            if not state.same:
                value = state.source
            entry = Entry(value, born if self._at_question else state.log)
            entry = state.entry if state.entry.born > entry.born else entry
            yield (
                f"load stores {entry.value} born {entry.born}",
                state._replace(load="idle", entry=entry),
                None,
            )


def _setup(writes: int, loads: int) -> Callable[[str | None], NotModified]:
    return lambda without: NotModified(without, writes=writes, loads=loads)


SETUPS: Mapping[str, Callable[[str | None], NotModified]] = {"one load": _setup(2, 2)}

DEEP: Mapping[str, Callable[[str | None], NotModified]] = {"more": _setup(3, 3)}
