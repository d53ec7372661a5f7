"""Which function keeps its results under which name in a cache: two different ones never share one.

A name comes from a function's module and its own name, and these may be the same for two of them: they may
be written twice in a module, in two modules of one name, or be made by one function again and again, each of
them seeing other variables. What one has stored outlives it, and so does its claim. A module that is imported
again makes its functions anew, and a factory may be called again where what it makes sees the same.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Literal

from stoker.core.decorators.variables import Mark, chain_of, codes_of, is_the_same, seen_by
from stoker.core.errors import UsageError
from stoker.core.identity import LOCAL
from stoker.core.linking import residence
from stoker.core.manager import CacheManager
from stoker.core.sync.manager import SyncCacheManager

#: Names that a cache remembers; of more, those of functions that have gone are forgotten, the oldest first.
MAX_NAMES = 10_000

#: Servers and prefixes of which names are remembered; of more, those are forgotten whose functions have gone.
MAX_PLACES = 1000

#: Modules of what is typed into an interpreter.
_TYPED = frozenset(("__main__", "__console__"))


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
            UsageError: A different function has it, or had it.
        """
        with _lock:  # handlers in several threads may each make a function of the name
            known = self._claims.get((cache_type, name))
            if known is not None and not known.admits(function, counted):
                gc.collect()  # what is gone may only not have been collected yet
                if not known.admits(function, counted):
                    raise UsageError(_refusal(function, known))
            if len(self._claims) >= MAX_NAMES:
                self._forget()
            self._claims.pop((cache_type, name), None)  # the newest stand last
            self._claims[cache_type, name] = _Claim.of(function, counted)

    def enter(
        self, cache_type: str, beginning: str, function: Callable[..., Any], params: Iterable[str]
    ) -> None:
        """Note by which parameters the results of a function are told apart."""
        with _lock:
            found = self._readers.get((cache_type, beginning), [])
            there = [reader for reader in found if reader.function() is not None]
            self._readers[cache_type, beginning] = [*there, _Reader(weakref.ref(function), frozenset(params))]

    def _forget(self) -> None:
        """Functions that are made for a while, each with its own namespace, are not all remembered."""
        gone = [name for name, one in self._claims.items() if one.function() is None]
        for name in gone[: len(gone) // 2 + 1]:
            del self._claims[name]
        self._readers = {
            name: there
            for name, readers in self._readers.items()
            if (there := [reader for reader in readers if reader.function() is not None])
        }

    @property
    def are_over(self) -> bool:
        """Whether none of the functions is there any more."""
        return all(one.function() is None for one in self._claims.values())

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
    """A function that has a name, or had it."""

    function: weakref.ref[Any]
    innermost: weakref.ref[Any]
    """The function itself, below all that wraps it."""
    code: tuple[CodeType, ...]
    """Its code, and that of the functions that it wraps."""
    seen: list[Mark]
    """What it saw beside its arguments when it was decorated."""
    module: int
    """Which variables it sees as its module's. They are not held: the cache may be one of them."""
    file: str | None
    """Where its module is written."""
    spec: Any = field(repr=False)
    """How its module was found: looked for again where that is reloaded."""

    @classmethod
    def of(cls, function: Callable[..., Any], counted: Iterable[str]) -> _Claim:
        module = _module_of(function)
        seen = seen_by(function, counted)
        return cls(
            weakref.ref(function),
            weakref.ref(chain_of(function)[-1]),
            codes_of(function),
            seen,
            id(module),
            _file_of(module),
            module.get("__spec__"),
        )

    def admits(self, function: Callable[..., Any], counted: Iterable[str]) -> bool:
        """Whether another function may have the name now."""
        first = self.function()
        if first is function:
            return True
        is_local = LOCAL in function.__qualname__
        match self._execution(function, first):
            case "another":
                return False
            case "anew" if not is_local:
                return True
            case "the same" if self.code != codes_of(function) or self._is_repeated(function):
                return False
            case _:
                pass
        sees = seen_by(function, counted)
        if first is None:
            return is_the_same(self.seen, sees, held=False)
        # As it was decorated, and as it is: a variable of a loop is another one's by now.
        return is_the_same(self.seen, sees, held=True) and is_the_same(
            seen_by(first, counted), sees, held=True
        )

    def _is_repeated(self, function: Callable[..., Any]) -> bool:
        """Whether one and the same definition of a module has made another function, as in a loop.

        What it sees beside its arguments are the module's variables, and nobody knows which of them differ.
        """
        plain = chain_of(function)[-1]
        return LOCAL not in plain.__code__.co_qualname and self.innermost() is not plain

    def _execution(self, function: Callable[..., Any], first: Any) -> Literal["the same", "anew", "another"]:
        """Which execution of which module makes a function: the one that made this, or that module anew."""
        module = _module_of(function)
        is_imported = getattr(sys.modules.get(str(module.get("__name__"))), "__dict__", None) is module
        # The number of a module that has gone may be another one's by now.
        is_known = first is not None or is_imported
        if is_known and id(module) == self.module and module.get("__spec__") is self.spec:
            return "anew" if self._is_typed_again(function, module) else "the same"
        if self.file is None or self.file != _file_of(module):
            return "another"
        # A module that was imported again took the other's place; else both are there, side by side.
        return "anew" if is_imported or first is None else "another"

    def _is_typed_again(self, function: Callable[..., Any], module: dict[str, Any]) -> bool:
        """Whether a function was typed into an interpreter anew: who types it again means the new one.

        All that is typed is of one module. What a function makes is as old as the line that made it: if that
        is the same one, it was only called again.
        """
        if module.get("__name__") not in _TYPED or self.spec is not None or self.file is not None:
            return False
        line, known = codes_of(function)[-1].co_filename, self.code[-1].co_filename
        return LOCAL not in function.__qualname__ or line != known


def _module_of(function: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = chain_of(function)[-1].__globals__
    return found


def _file_of(module: dict[str, Any]) -> str | None:
    file = module.get("__file__")
    return os.path.realpath(file) if isinstance(file, str) else None


_lock = threading.RLock()
_names: dict[int, tuple[weakref.ref[Any], Names]] = {}
_shared: dict[Hashable, Names] = {}


def residence_of(place: Any) -> Hashable:
    """Where a cache has its entries: the same for all that share them."""
    return residence(place, place.config if isinstance(place, CacheManager | SyncCacheManager) else None)


def names_in(place: Any) -> Names:
    """The names in a cache: of all that share its entries; or its own, which go with it."""
    where = residence_of(place)
    with _lock:
        return _own_names(place) if where == id(place) else _shared_names(where)


def _own_names(place: Any) -> Names:
    number = id(place)
    known = _names.get(number)
    if known is not None and known[0]() is place:
        return known[1]

    def forget(gone: weakref.ref[Any]) -> None:
        if (found := _names.get(number)) is not None and found[0] is gone:
            del _names[number]

    names = Names()
    _names[number] = weakref.ref(place, forget), names
    return names


def _shared_names(where: Hashable) -> Names:
    if where not in _shared and len(_shared) >= MAX_PLACES:
        for one in [one for one, names in _shared.items() if names.are_over]:
            del _shared[one]
    return _shared.setdefault(where, Names())


def _refusal(function: Callable[..., Any], known: _Claim) -> str:
    name = function.__qualname__
    if known.code == codes_of(function) and known.file == _file_of(_module_of(function)):
        return (
            f"another {name} of this cache was made before, and sees other variables, or such as can't be "
            "told from them; what it stored may still be there: give each a namespace=… of its own"
        )
    code = known.code[-1]
    return (
        f"another {name} of this cache is there already ({code.co_filename}, line {code.co_firstlineno}), "
        "and they would share their entries: give each a namespace=… of its own, or another name"
    )
