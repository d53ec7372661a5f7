"""Explores a model's states exhaustively, breadth first, so that a violation comes with its shortest trace.

A state is an immutable, hashable value. A model says where it starts and, for any state, which steps can be
taken; a step that breaks the promise says so. Nothing is sampled: within its bounds a model is explored
whole, or the outcome says that it was cut.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeAlias, TypeVar

S = TypeVar("S", bound=Hashable)
T = TypeVar("T")

#: More states than this cut an exploration: a model's bounds are to keep it far below.
MAX_STATES = 3_000_000

STUCK = "stuck"
"""The violation of a state from which no step, however long one goes on, leads to a finished one."""

Step: TypeAlias = tuple[str, S, str | None]
"""What happens, the state it leads to, and the kind of the violation where it is one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the protocol that a model can do without."""

    name: str
    kind: str
    """The violation that follows when it is taken away."""
    setup: str
    """The setup in which that is shown."""
    says: str
    """The rule."""
    otherwise: str
    """What goes wrong without it."""


class Model(ABC, Generic[S]):
    """A part of the protocol, within bounds; possibly without one of its rules.

    Args:
        without: The rule that is taken away.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()
    must_end: ClassVar[bool] = False
    """Whether every state must be able to reach one that is `finished`."""

    def __init__(self, without: str | None = None) -> None:
        self._without = without
        if without is not None:
            self.keeps(without)

    def keeps(self, rule: str) -> bool:
        """Whether a rule holds here.

        Raises:
            ValueError: The model has no such rule.
        """
        if all(known.name != rule for known in self.rules):
            raise ValueError(f"{type(self).__name__} has no rule {rule!r}")
        return rule != self._without

    @abstractmethod
    def start(self) -> S:
        """The state in which all begins."""

    @abstractmethod
    def steps(self, state: S) -> Iterator[Step[S]]:
        """All that can happen next."""

    def finished(self, state: S) -> bool:
        """Whether everybody got what they wanted."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an exploration found."""

    states: int
    """Different states that were reached."""
    violation: str | None = None
    """Its kind, or None."""
    trace: tuple[str, ...] = ()
    """The shortest way to it."""
    cut: bool = False
    """There were more states than allowed: that none was found proves nothing."""

    def __str__(self) -> str:
        if self.violation is not None:
            return f"{self.violation}: {' > '.join(self.trace)}  ({self.states:,} states)"
        return f"{'cut at' if self.cut else 'holds in all of'} {self.states:,} states"


def explore(model: Model[S], *, limit: int = MAX_STATES) -> Outcome:
    """Explore a model until the first violation, or the end.

    Args:
        model: The model.
        limit: More states than this cut the exploration.
    """
    # The collector would walk over all states again and again, and find that none can go.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _explore(model, limit)
    finally:
        if collecting:
            gc.enable()


def _explore(model: Model[S], limit: int) -> Outcome:
    first = model.start()
    came: dict[S, tuple[S, str] | None] = {first: None}
    before: dict[S, list[S]] = {}
    todo = deque((first,))
    while todo:
        state = todo.popleft()
        for name, following, violation in model.steps(state):
            if violation is not None:
                return Outcome(len(came), violation, (*_trace(came, state), name))
            if following not in came:
                came[following] = (state, name)
                todo.append(following)
            if model.must_end:
                before.setdefault(following, []).append(state)
        if len(came) > limit:
            return Outcome(len(came), cut=True)
    if model.must_end:
        ends = _reach_back(before, (state for state in came if model.finished(state)))
        for state in came:  # in the order in which they were found: the first is the nearest
            if state not in ends:
                return Outcome(len(came), STUCK, _trace(came, state))
    return Outcome(len(came))


def _reach_back(before: dict[S, list[S]], ends: Iterable[S]) -> set[S]:
    """All states from which one of `ends` can be reached."""
    found = set(ends)
    todo = list(found)
    while todo:
        for state in before.get(todo.pop(), ()):
            if state not in found:
                found.add(state)
                todo.append(state)
    return found


def _trace(came: dict[S, tuple[S, str] | None], state: S) -> tuple[str, ...]:
    names: list[str] = []
    while (step := came[state]) is not None:
        state, name = step
        names.append(name)
    return tuple(reversed(names))


def put(items: tuple[T, ...], at: int, item: T) -> tuple[T, ...]:
    """`items` with another one at a place."""
    return (*items[:at], item, *items[at + 1 :])
