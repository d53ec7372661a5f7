"""Which function keeps its results under which name in a cache: two different ones never share one.

A name comes from a function's module and its own name, and these may be the same for two of them: they may be
written twice in a module, in two branches, or be made by one function again and again, each of them seeing
other variables. A module that is imported again makes its functions anew, and so does a factory that is
called again when what it made before is gone.
"""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from stoker.core.errors import UsageError
from stoker.core.identity import LOCAL

#: Names that a cache remembers; of more, only those of functions that are there.
MAX_NAMES = 10_000

#: Of these, equal ones are the same.
_PLAIN = frozenset((str, int, bool, bytes, float, type(None)))


class Names:
    """The names that functions have in one cache, and by which parameters their results are told apart."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], _Claim] = {}
        self._readers: dict[tuple[str, str], list[_Reader]] = {}

    def claim(self, cache_type: str, name: str, function: Callable[..., Any], counted: Iterable[str]) -> None:
        """Let a function have a name.

        Args:
            cache_type: The type of its results.
            name: What their keys begin with.
            function: The function.
            counted: The parameters that tell its calls apart.

        Raises:
            UsageError: A different function has it.
        """
        known = self._claims.get((cache_type, name))
        if known is not None and not known.admits(function, counted):
            gc.collect()  # what is gone may only not have been collected yet
            if not known.admits(function, counted):
                raise UsageError(_refusal(function, known))
        if len(self._claims) >= MAX_NAMES:
            self._forget()
        self._claims[cache_type, name] = _Claim.of(function)

    def enter(
        self, cache_type: str, beginning: str, function: Callable[..., Any], params: Iterable[str]
    ) -> None:
        """Note by which parameters the results of a function are told apart."""
        found = self._readers.get((cache_type, beginning), [])
        there = [reader for reader in found if reader.function() is not None]
        self._readers[cache_type, beginning] = [*there, _Reader(weakref.ref(function), frozenset(params))]

    def _forget(self) -> None:
        """Functions that are made for a while, each with its own namespace, are not all remembered."""
        self._claims = {name: one for name, one in self._claims.items() if one.function() is not None}
        self._readers = {
            name: there
            for name, readers in self._readers.items()
            if (there := [reader for reader in readers if reader.function() is not None])
        }

    def parameters(self, cache_type: str, beginning: str) -> frozenset[str] | None:
        """What tells results apart whose keys begin so; None where no function of this process has such."""
        there = [
            reader.params
            for reader in self._readers.get((cache_type, beginning), [])
            if reader.function() is not None
        ]
        return frozenset[str]().union(*there) if there else None


@dataclass(frozen=True)
class _Reader:
    function: weakref.ref[Any]
    params: frozenset[str]


@dataclass(frozen=True)
class _Claim:
    """A function that has a name."""

    function: weakref.ref[Any]
    code: tuple[CodeType, ...]
    """Its code, and that of the functions that it wraps."""
    module: int
    """Which variables it sees as its module's: those of a module that was imported again may be others."""
    spec: Any = field(repr=False)
    """How its module was found: looked for again where that is reloaded."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> _Claim:
        chain = _chain(function)
        module = chain[-1].__globals__
        # The variables are not held: the cache may be one of them.
        return cls(weakref.ref(function), _codes(chain), id(module), module.get("__spec__"))

    def admits(self, function: Callable[..., Any], counted: Iterable[str]) -> bool:
        """Whether another function may have the name now."""
        first = self.function()
        if first is function:
            return True
        anew = self._is_anew(function)
        if not anew and self.code != _codes(_chain(function)):
            return False
        if first is None or (anew and LOCAL not in function.__qualname__):
            return True
        return _sees(first, counted) == _sees(function, counted)

    def _is_anew(self, function: Callable[..., Any]) -> bool:
        """Whether a function's module was executed another time than this one's."""
        plain = _chain(function)[-1]
        module = plain.__globals__
        if id(module) != self.module or module.get("__spec__") is not self.spec:
            return True
        typed = self.spec is None and "__file__" not in module  # into an interpreter: it means the new one
        return typed and (
            LOCAL not in function.__qualname__ or plain.__code__.co_filename != self.code[-1].co_filename
        )


_names: dict[int, tuple[weakref.ref[Any], Names]] = {}


def names_in(place: Any) -> Names:
    """The names in a cache, which need not be hashable; they go with it."""
    known = _names.get(id(place))
    if known is not None and known[0]() is place:
        return known[1]
    number = id(place)

    def forget(gone: weakref.ref[Any]) -> None:
        if (found := _names.get(number)) is not None and found[0] is gone:
            del _names[number]

    names = Names()
    _names[number] = weakref.ref(place, forget), names
    return names


def _refusal(function: Callable[..., Any], known: _Claim) -> str:
    name = function.__qualname__
    if known.function() is not None and known.code == _codes(_chain(function)):
        return (
            f"another {name} of this cache was made before, and sees other variables: give each a "
            "namespace=… of its own"
        )
    code = known.code[-1]
    return (
        f"another {name} of this cache is there already ({code.co_filename}, line {code.co_firstlineno}), "
        "and they would share their entries: give each a namespace=… of its own, or another name"
    )


def _chain(function: Callable[..., Any]) -> list[Any]:
    """A function, and those that it wraps."""
    chain: list[Any] = [function]
    inner = getattr(function, "__wrapped__", None)
    while hasattr(inner, "__code__") and not _is_in(inner, chain):
        chain.append(inner)
        inner = getattr(inner, "__wrapped__", None)
    return chain


def _is_in(one: Any, chain: list[Any]) -> bool:
    return any(one is other for other in chain)


def _codes(chain: list[Any]) -> tuple[CodeType, ...]:
    return tuple(one.__code__ for one in chain)


def _sees(function: Callable[..., Any], counted: Iterable[str]) -> list[Any]:
    """What a function sees beside its arguments: its variables, and defaults that don't tell calls apart."""
    chain, known = _chain(function), set(counted)
    cells = [cell for one in chain for cell in getattr(one, "__closure__", None) or ()]
    seen = [
        content for cell in cells for content in _content(cell) if not any(content is one for one in chain)
    ]
    parameters = inspect.signature(function).parameters.values()
    seen += [one.default for one in parameters if one.name not in known]
    return [(type(one), one) if type(one) in _PLAIN else id(one) for one in seen]


def _content(cell: Any) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # nothing yet
        return []
