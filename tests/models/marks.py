"""*Get, miss, compute, set*: a load by hand, held to where its miss stood.

Modelled: tasks of one process that each read the key, and after a miss compute the value (from the source)
and set it; between miss and set they may read again. The miss leaves a mark in its task, kept until the set
takes it, whatever later reads find; a task can hold so many marks, and forgets the oldest. A task may have a
*helper* set for it, a task that it starts, while others start tasks below that. With a
*token* (`fill`) the caller carries the position. A read is one step here: what may come between its check and
its fetch is `strict`'s.

A hole, on purpose: a bare set, without a miss before it, is vouched for by its caller *now*. If the value was
in fact read before an invalidation, it is served after it.

Not modelled: what a task does that has found the key at once (a value it sets then is a bare set), copies of
contexts, tasks so far below the one that missed that they don't see its mark any more, the age at which a
mark is let go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import HOLE, STALE

NONE = -1
"""No mark."""


class Entry(NamedTuple):
    """What is stored."""

    value: int
    born: int


class Task(NamedTuple):
    """Reads, computes, sets."""

    how: str
    """`mark`, `token`, or `bare`: it sets without having read."""
    left: int
    """Rounds it begins yet."""
    again: bool
    """Whether it may read a second time between its miss and its set."""
    at: str = "idle"
    needs: int = 0
    mark: int = NONE
    """What the task remembers, or the token that its caller carries."""
    evicted: int = NONE
    """The oldest mark that had to be forgotten."""
    value: int = 0
    helped: bool = False
    """A task that it starts sets for it."""
    seen: bool = True
    """Whether that one sees its marks."""


class State(NamedTuple):
    """All there is. All records of the log name the key."""

    source: int
    acked: int
    writer: str
    writes: int
    log: int
    """Records, all of which name the key."""
    own: int
    """The last record that was appended here."""
    entry: Entry | None
    shared: int
    """The mark that tasks share, where they have none each."""
    others: int
    """Misses of other keys that may push a mark out."""
    tasks: tuple[Task, ...]


Steps: TypeAlias = Iterator[Step[State]]

_RULES = (
    Rule(
        "stamped-with-the-miss",
        STALE,
        "two tasks",
        "a set is stamped with where its task's miss stood",
        "a value that was computed before an invalidation is stored as if it had been computed after it",
    ),
    Rule(
        "mark-per-task",
        STALE,
        "two tasks",
        "each task has its own mark",
        "the later miss, or the earlier set, of another task takes the mark away",
    ),
    Rule(
        "first-miss",
        STALE,
        "reads again",
        "the first miss counts until the set",
        "a second miss, after the value was computed, covers an invalidation between them up",
    ),
    Rule(
        "kept-over-hits",
        STALE,
        "reads again",
        "a hit takes no mark away",
        "what was computed before an invalidation is set over what another has loaded after it",
    ),
    Rule(
        "no-exception",
        STALE,
        "two tasks",
        "one's own invalidations count like those of others",
        "a process's writer invalidates, and its reader's older value is stored over it",
    ),
    Rule(
        "evicted-marks-count",
        STALE,
        "marks run out",
        "a task that had to forget marks stamps what it sets without one with the oldest of them",
        "a task that misses more keys than it can remember sets the first of them as if computed now",
    ),
    Rule(
        "starters-miss",
        STALE,
        "a helper sets",
        "a task without a mark of its own looks at those of the tasks above it",
        "what a task has computed after its miss is set by a helper as if it had been computed then",
    ),
    Rule(
        "view-of-its-own",
        STALE,
        "a helper sets",
        "what a task sees of the tasks above it, no other task takes away",
        "a task that is started below the helper uses the cache, and the helper no longer sees the miss",
    ),
    Rule(
        "token-from-before",
        STALE,
        "token",
        "a token is taken before the value is computed",
        "an invalidation between the two is not seen",
    ),
)


@dataclass(frozen=True)
class Bounds:
    """How much there is to happen."""

    tasks: tuple[Task, ...]
    writes: int = 1
    others: int = 0


class Marks(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = _RULES

    def __init__(self, without: str | None, bounds: Bounds) -> None:
        super().__init__(without)
        self._bounds = bounds
        self._stamps = self.keeps("stamped-with-the-miss")
        self._per_task = self.keeps("mark-per-task")
        self._first = self.keeps("first-miss")
        self._kept = self.keeps("kept-over-hits")
        self._no_exception = self.keeps("no-exception")
        self._evicted = self.keeps("evicted-marks-count")
        self._starters = self.keeps("starters-miss")
        self._own_view = self.keeps("view-of-its-own")
        self._token_before = self.keeps("token-from-before")

    def start(self) -> State:
        """Nothing is stored, nothing invalidated."""
        bounds = self._bounds
        return State(0, 0, "idle", bounds.writes, 0, 0, None, NONE, bounds.others, bounds.tasks)

    def steps(self, state: State) -> Steps:
        """A step of the writer, which is in this process, or of a task."""
        if state.writer == "idle" and state.writes:
            changed = state._replace(source=state.source + 1, writer="committed", writes=state.writes - 1)
            yield f"writer commits {changed.source}", changed, None
        elif state.writer == "committed":
            changed = state._replace(log=state.log + 1, own=state.log + 1, writer="appended")
            yield f"writer appends {changed.log}", changed, None
        elif state.writer == "appended":
            yield "writer is told", state._replace(acked=state.source, writer="idle"), None
        for at, task in enumerate(state.tasks):
            yield from self._go(state, at, task)

    def _go(self, state: State, at: int, task: Task) -> Steps:
        if task.at == "idle" and task.left:
            begun = task._replace(at="computes" if task.how == "bare" else "reads", left=task.left - 1)
            yield f"t{at} begins", _with(state, at, begun._replace(needs=state.acked)), None
        elif task.at == "reads":
            yield self._read(state, at, task)
        elif task.at == "computes":
            computed = task._replace(at="sets", value=state.source)
            yield f"t{at} computes {state.source}", _with(state, at, computed), None
        elif task.at == "sets":
            if task.again:
                again = task._replace(at="reads", again=False, needs=state.acked)
                yield f"t{at} reads again", _with(state, at, again), None
            if state.others and task.mark != NONE and task.how == "mark":
                oldest = task.mark if task.evicted == NONE else min(task.evicted, task.mark)
                pushed = task._replace(mark=NONE, evicted=oldest if self._evicted else NONE)
                yield f"t{at} misses too many keys", _with(state._replace(others=0), at, pushed), None
            if task.helped:
                looked = task._replace(seen=task.seen and self._own_view)
                yield f"a task below t{at}'s helper reads", _with(state, at, looked), None
            yield self._set(state, at, task)

    def _read(self, state: State, at: int, task: Task) -> Step[State]:
        entry = state.entry
        if entry is not None and entry.born >= state.log:
            violation = STALE if entry.value < task.needs else None
            if task.mark != NONE:  # it has computed, and will set that nevertheless
                found = task._replace(at="sets", mark=task.mark if self._kept else NONE)
            else:
                found = _done(task)
            return f"t{at} hits {entry.value}", _with(state, at, found), violation
        computed, mark = task.mark != NONE, task.mark
        if mark == NONE or not self._first:
            mark = state.log
        missed = task._replace(at="sets" if computed else "computes", mark=mark)
        return f"t{at} misses", _with(state._replace(shared=mark), at, missed), None

    def _set(self, state: State, at: int, task: Task) -> Step[State]:
        mark, shared = task.mark, state.shared
        if task.how == "mark" and not self._per_task:
            mark, shared = state.shared, NONE
        if mark == NONE and task.how == "mark":
            mark = task.evicted
        if task.helped and not (self._starters and task.seen):
            mark = NONE
        stamps = self._stamps if task.how == "mark" else self._token_before
        excused = not self._no_exception and state.own > mark
        if mark == NONE or not stamps or excused:
            mark = state.log
        after = (
            state
            if state.entry is not None and state.entry.born > mark
            else state._replace(entry=Entry(task.value, mark))
        )
        return (
            f"t{at} sets {task.value} born {mark}",
            _with(after, at, _done(task))._replace(shared=shared),
            None,
        )


class BareSets(Marks):
    """The same, where what a read returns is held against bare sets too: the hole shows."""

    def steps(self, state: State) -> Steps:
        """As before, with its violations as holes."""
        for name, after, violation in super().steps(state):
            yield name, after, HOLE if violation else None


def _done(task: Task) -> Task:
    """A round is over."""
    return Task(task.how, task.left, task.again, evicted=task.evicted, helped=task.helped)


def _with(state: State, at: int, task: Task) -> State:
    return state._replace(tasks=put(state.tasks, at, task))


def _setup(bounds: Bounds) -> Callable[[str | None], Marks]:
    return lambda without: Marks(without, bounds)


def _mark(left: int, *, again: bool = False, helped: bool = False) -> Task:
    return Task("mark", left, again, helped=helped)


SETUPS: Mapping[str, Callable[[str | None], Marks]] = {
    "two tasks": _setup(Bounds((_mark(2), _mark(2)), writes=2)),
    "reads again": _setup(Bounds((_mark(2, again=True), _mark(1)))),
    "marks run out": _setup(Bounds((_mark(2), _mark(1)), others=1)),
    "a helper sets": _setup(Bounds((_mark(2, helped=True), _mark(1)))),
    "token": _setup(Bounds((Task("token", 2, again=False), _mark(1)))),
}

HOLES: Mapping[str, Callable[[str | None], Marks]] = {
    "a bare set of what was computed earlier": lambda without: BareSets(
        without, Bounds((Task("bare", 1, again=False), _mark(1)))
    ),
}

DEEP: Mapping[str, Callable[[str | None], Marks]] = {
    "three tasks": _setup(
        Bounds((_mark(2, again=True), _mark(1, helped=True), Task("token", 1, again=False)), others=1)
    ),
}
