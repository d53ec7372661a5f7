"""Writing through: whoever changes the source stores the new value itself, if nobody else has changed it
meanwhile.

Modelled: two writers, each in a process of its own, of the same row, and a reader that loads. A writer takes
a token (where its process had read the log), commits, appends, reads the records between its token and its
own, and stores with its own record's position if none of them is a stranger's. Before it takes the token it
may know less than the whole log.

Not modelled: a writer that ends between its commit and its append: what it changed was never acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import STALE, USELESS


class Entry(NamedTuple):
    """What is stored."""

    value: int
    born: int


class Writer(NamedTuple):
    """Writes through once."""

    at: str = "idle"
    token: int = 0
    value: int = 0
    position: int = 0
    alone: bool = True
    """Whether no record of others lies between its token and its own."""


class Caller(NamedTuple):
    """Reads, and loads what is not there."""

    left: int
    at: str = "idle"
    needs: int = 0
    born: int = 0
    value: int = 0


class State(NamedTuple):
    """All there is."""

    source: int
    acked: int
    log: tuple[int, ...]
    """Of each record, whose it is."""
    entry: Entry | None
    writers: tuple[Writer, ...]
    caller: Caller


Steps: TypeAlias = Iterator[Step[State]]

_RULES = (
    Rule(
        "token-before-commit",
        STALE,
        "two writers",
        "the token is taken before the commit",
        "who commits between is not noticed: their newer value is overwritten by one that lives on",
    ),
    Rule(
        "nobody-between",
        STALE,
        "two writers",
        "the value is stored only if no other record of its scopes lies between the token and one's own",
        "two writers commit in one order and append in the other: the older value lives on",
    ),
    Rule(
        "own-position",
        STALE,
        "two writers",
        "it is stored with one's own record's position, not with the log's end",
        "a record after one's own is passed over",
    ),
    Rule(
        "append-first",
        USELESS,
        "one writer",
        "the record is appended before the value is stored",
        "one's own record kills the value at once",
    ),
)


class WriteThrough(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = _RULES

    def __init__(self, without: str | None, *, writers: int, reads: int) -> None:
        super().__init__(without)
        self._writers, self._reads = writers, reads
        self._looks_between = self.keeps("nobody-between")
        self._own_position = self.keeps("own-position")
        order = ["idle", "token", "commit", "append", "look", "store", "done"]
        if not self.keeps("token-before-commit"):
            order = ["idle", "commit", "token", "append", "look", "store", "done"]
        if not self.keeps("append-first"):
            order = ["idle", "token", "commit", "store", "append", "look", "done"]
        self._after = dict(pairwise(order))

    def start(self) -> State:
        """Nothing is stored."""
        return State(0, 0, (), None, (Writer(),) * self._writers, Caller(self._reads))

    def steps(self, state: State) -> Steps:
        """A step of a writer or the reader."""
        for at, writer in enumerate(state.writers):
            yield from self._write(state, at, writer)
        yield from self._read(state, state.caller)

    def _write(self, state: State, at: int, writer: Writer) -> Steps:
        step = self._after.get(writer.at)
        changed = writer._replace(at=step or "")
        writers = state.writers
        if step == "token":
            for token in range(len(state.log) + 1):
                taken = put(writers, at, changed._replace(token=token))
                yield f"w{at} takes token {token}", state._replace(writers=taken), None
        elif step == "commit":
            committed = put(writers, at, changed._replace(value=state.source + 1))
            yield (
                f"w{at} commits {state.source + 1}",
                state._replace(source=state.source + 1, writers=committed),
                None,
            )
        elif step == "append":
            log = (*state.log, at)
            appended = put(writers, at, changed._replace(position=len(log)))
            yield f"w{at} appends {len(log)}", state._replace(log=log, writers=appended), None
        elif step == "look":
            alone = len(state.log[writer.token : writer.position]) == 1 or not self._looks_between
            # The append has been answered: the invalidation is acknowledged, whatever becomes of the value.
            acked, looked = max(state.acked, writer.value), put(writers, at, changed._replace(alone=alone))
            yield f"w{at} looks between", state._replace(acked=acked, writers=looked), None
        elif step == "store":
            yield self._store(state, at, changed)
        elif step == "done":
            violation = USELESS if self._was_useless(state) else None
            yield f"w{at} is done", state._replace(writers=put(writers, at, Writer(at="done"))), violation

    def _store(self, state: State, at: int, writer: Writer) -> Step[State]:
        after = state._replace(writers=put(state.writers, at, writer))
        if not writer.alone:
            return f"w{at} doesn't store", after, None
        born = writer.position if self._own_position and writer.position else len(state.log)
        if state.entry is not None and state.entry.born > born:
            return f"w{at} finds a younger one", after, None
        return (
            f"w{at} stores {writer.value} born {born}",
            after._replace(entry=Entry(writer.value, born)),
            None,
        )

    def _was_useless(self, state: State) -> bool:
        """Whether a writer that nobody disturbed has stored a dead value."""
        entry, disturbed = state.entry, self._writers > 1 or self._reads
        return not disturbed and entry is not None and entry.born < len(state.log)

    def _read(self, state: State, caller: Caller) -> Steps:
        if caller.at == "idle" and caller.left:
            begun = caller._replace(at="begun", left=caller.left - 1, needs=state.acked)
            yield "reader begins", state._replace(caller=begun), None
        elif caller.at == "begun":
            entry, idle = state.entry, Caller(caller.left)
            if entry is not None and entry.born >= len(state.log):
                violation = STALE if entry.value < caller.needs else None
                yield f"reader hits {entry.value}", state._replace(caller=idle), violation
            else:
                yield (
                    "reader misses",
                    state._replace(caller=idle._replace(at="loads", born=len(state.log))),
                    None,
                )
        elif caller.at == "loads":
            loaded = caller._replace(at="loaded", value=state.source)
            yield f"reader loads {state.source}", state._replace(caller=loaded), None
        elif caller.at == "loaded":
            entry = Entry(caller.value, caller.born)
            if state.entry is not None and state.entry.born > entry.born:
                entry = state.entry
            yield "reader stores", state._replace(entry=entry, caller=Caller(caller.left)), None


def _setup(writers: int, reads: int) -> Callable[[str | None], WriteThrough]:
    return lambda without: WriteThrough(without, writers=writers, reads=reads)


SETUPS: Mapping[str, Callable[[str | None], WriteThrough]] = {
    "two writers": _setup(2, 2),
    "one writer": _setup(1, 0),
}

DEEP: Mapping[str, Callable[[str | None], WriteThrough]] = {"three writers": _setup(3, 2)}
