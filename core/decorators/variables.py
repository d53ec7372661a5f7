"""What a function sees beside its arguments, remembered without holding it.

Plain values are remembered by what they are, all else by being the very same object. What can be neither, as
a list, which may change, or an object that has gone, is never the same as anything.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import CodeType
from typing import Any, TypeAlias, cast
from uuid import UUID

from stoker.core.decorators.encoding import encode_argument
from stoker.core.errors import UsageError
from stoker.core.identity import LOCAL

#: Of these, what is written alike is the same.
_PLAIN = frozenset((str, int, bool, bytes, float, type(None)))

#: The same, for classes derived from them: they are refused where they hold more.
_UNCHANGING = (Enum, date, time, timedelta, Decimal, UUID, PurePath)


@dataclass(frozen=True, slots=True)
class _Here:
    """An object that can't be remembered: the same only as long as somebody holds it."""

    number: int


Mark: TypeAlias = "bytes | weakref.ref[Any] | _Here"
"""What is remembered of a variable."""


def chain_of(function: Callable[..., Any]) -> list[Any]:
    """Return a function, and those that it wraps."""
    chain: list[Any] = [function]
    inner = getattr(function, "__wrapped__", None)
    while hasattr(inner, "__code__") and not _is_in(inner, chain):
        chain.append(inner)
        inner = getattr(inner, "__wrapped__", None)
    return chain


def codes_of(function: Callable[..., Any]) -> tuple[CodeType, ...]:
    """Return the code of a function, and of those that it wraps."""
    return tuple(one.__code__ for one in chain_of(function))


def seen_by(function: Callable[..., Any], counted: Iterable[str]) -> list[Mark]:
    """Return marks of a function's variables and attributes, and of defaults that don't tell its calls apart.

    Args:
        function: The function.
        counted: The parameters that tell its calls apart.
    """
    chain, known = chain_of(function), set(counted)
    marks = [mark for one in chain for mark in _marks_of_cells(one, chain)]
    for place, one in enumerate(chain):
        marks += [_mark(value) for name, value in _defaults_of(one) if place or name not in known]
        marks += [
            mark
            for name, value in _attributes_of(one)
            if not _stands_for(value, chain)
            for mark in (_mark(name), _mark(value))
        ]
    return marks


def _attributes_of(function: Any) -> list[tuple[str, Any]]:
    found: dict[str, Any] = function.__dict__
    return sorted(found.items())


def _defaults_of(function: Any) -> list[tuple[str, Any]]:
    """A function's own defaults: a `__signature__` may hide some."""
    code, given = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    by_name: dict[str, Any] = function.__kwdefaults__ or {}
    return [*zip(names, given, strict=True), *sorted(by_name.items())]


def is_the_same(one: list[Mark], other: list[Mark], *, held: bool) -> bool:
    """Whether two functions of the same code see the same.

    Args:
        one: What the first has seen.
        other: What the other one sees.
        held: Whether both are there, and with them all that they see.
    """
    return len(one) == len(other) and all(_agree(*pair, held=held) for pair in zip(one, other, strict=True))


def _agree(one: Mark, other: Mark, *, held: bool) -> bool:
    if isinstance(one, weakref.ref) and isinstance(other, weakref.ref):
        return (there := one()) is not None and there is other()
    if isinstance(one, _Here):
        return held and one.number > 0 and one == other
    return isinstance(one, bytes) and one == other


def _marks_of_cells(function: Any, chain: list[Any]) -> list[Mark]:
    marks: list[Mark] = []
    cells: tuple[Any, ...] = getattr(function, "__closure__", None) or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=False):
        try:
            content = cell.cell_contents
        except ValueError:  # nothing yet; what is decorated here is bound to its own name next
            before = function.__qualname__.rpartition(".")[0]
            if name != function.__code__.co_name or not before.endswith(LOCAL):
                marks.append(_Here(0))
            continue
        if not _stands_for(content, chain):
            marks.append(_mark(content))
    return marks


def _stands_for(content: Any, chain: list[Any]) -> bool:
    """Whether a variable is the function itself, or what decorators made of it."""
    return any(_is_in(one, chain) for one in chain_of(content) if hasattr(one, "__code__"))


def _mark(value: Any) -> Mark:
    if _is_unchanging(value):
        try:
            return hashlib.sha256(encode_argument(value)).digest()
        except UsageError:
            return _Here(id(value))
    try:
        return weakref.ref(value)
    except TypeError:
        return _Here(id(value))


def _is_unchanging(value: Any) -> bool:
    kind = cast("Any", type(value))
    if kind in {tuple, frozenset}:
        return all(_is_unchanging(item) for item in value)
    return kind in _PLAIN or isinstance(value, _UNCHANGING)


def _is_in(one: Any, chain: list[Any]) -> bool:
    return any(one is other for other in chain)
