"""Loaders: functions that compute a value from arguments, registered so that the worker can call them too."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import sys
import typing
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from types import FunctionType, MethodType, SimpleNamespace, UnionType
from typing import Any, ParamSpec, TypeVar, Union
from weakref import WeakKeyDictionary, WeakValueDictionary

import msgspec

from stoker.core.entries.codec import check_decodable
from stoker.core.errors import ConfigError, UnknownLoaderError, UsageError
from stoker.core.identity import name_of
from stoker.core.keys import check_type_name, several
from stoker.core.loading.conditional import NotModified
from stoker.core.recipe import Recipe
from stoker.core.settings.policy import check_ttl

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

LoadFunction = Callable[..., Awaitable[Any]]
TagFunction = Callable[[Any], Iterable[str]]


class Loader(msgspec.Struct, frozen=True, weakref=True):
    """A registered loader."""

    name: str
    function: LoadFunction
    cache_type: str
    tags: TagFunction | None
    ttl: float | None
    call_tags: Callable[[Sequence[Any], Mapping[str, Any]], Iterable[str]] | None = None
    """Gives further tags, of the arguments."""
    is_whole: Callable[[tuple[Any, ...], Mapping[str, Any]], bool] | None = None
    """Says whether the arguments of a call are all part of its key; where not, none of them is kept."""

    def recipe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe | None:
        """Return what it takes to load again what a call loads; None where that is not to be kept."""
        if self.is_whole is not None and not self.is_whole(args, kwargs):
            return None
        return Recipe.of(self.name, args, kwargs)

    def tags_for(self, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TagFunction | None:
        """Return what gives the tags of a value that was loaded with these arguments, if it has some."""
        # That there is no such thing has no tags of its own, but it was looked for with these arguments.
        of_value, of_call = None if value is None else self.tags, self.call_tags
        if of_call is None:
            return of_value
        return lambda value: [*(several("tags", of_value(value)) if of_value else ()), *of_call(args, kwargs)]

    @property
    def returns(self) -> Any:
        """What its results are decoded into; `Any` where the function has no annotation."""
        return returned_by(self.function)


_by_name: dict[str, Loader] = {}
_by_function: dict[LoadFunction, Loader] = {}
#: Functions that call a registered loader; they may be made for a while.
_standing: WeakKeyDictionary[LoadFunction, Loader] = WeakKeyDictionary()
#: Decorated functions, by where their results are, type and name; they may be made for a while, and go with
#: all that they hold.
_decorated: WeakValueDictionary[tuple[Hashable, str, str], Loader] = WeakValueDictionary()
_returned: WeakKeyDictionary[FunctionType, Any] = WeakKeyDictionary()
_conditional: WeakKeyDictionary[FunctionType, bool] = WeakKeyDictionary()
_reported: set[str] = set()
_AWAITABLES = (Awaitable, Coroutine, asyncio.Future, asyncio.Task)


def loader(
    name: str | None = None,
    *,
    cache_type: str,
    tags: Callable[[Any], Iterable[str]] | None = None,
    ttl: float | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Register an async function as a loader; the function stays as it is.

    Args:
        name: What recipes call it, for ever; `module.function` where not given.
        cache_type: The type its values are cached under.
        tags: Gives the tags of a loaded value.
        ttl: Seconds its values are fresh, where they differ from the type's.

    Raises:
        UsageError: The name is taken by another function, the function is not async, the TTL is none, or
            the function is annotated to return what can't be made from stored bytes.
    """
    check_type_name(cache_type)
    if ttl is not None:
        check_ttl(ttl)

    def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        if not inspect.iscoroutinefunction(function):
            raise UsageError(f"{function!r} is no `async def` function")
        chosen = name or name_of(function)
        known = _by_name.get(chosen)
        if known is not None and not _is_same(known.function, function):
            raise UsageError(f"two loaders are called {chosen!r}: give one of them another name")
        spec = Loader(chosen, function, cache_type, tags, ttl)
        check_returned(chosen, function)
        _by_name[chosen] = _by_function[function] = spec
        return function

    return decorate


def register(spec: Loader, place: Hashable) -> Loader:
    """Let a decorated function be found while it is there.

    Args:
        spec: The function.
        place: Where its results are. One that has its type and name there goes: it is the same, made anew.
    """
    _decorated[place, spec.cache_type, spec.name] = spec
    return spec


def check_returned(name: str, function: LoadFunction) -> None:
    """Refuse a function that can't be a loader.

    Raises:
        UsageError: It is annotated to return what can't be made from stored bytes.
    """
    plain = _plain_function(function)
    if plain is None:
        return
    try:
        check_decodable(_resolve(plain))
    except (NameError, AttributeError, TypeError):
        return  # not defined yet, or for type checkers only: the first read looks again
    except UsageError as error:
        raise UsageError(
            f"loader {name!r}: {error}; return plain data, a dataclass, a Struct or a model"
        ) from None


def find(name: str, cache_type: str, place: Hashable) -> Loader:
    """Return the loader of a name.

    Args:
        name: The name.
        cache_type: The type of what it is to load.
        place: Where that is. A function that was decorated for another place will do if it is the only one:
            a server may have another name there.

    Raises:
        UnknownLoaderError: No imported module registers it, or nobody knows which of several is meant.
    """
    found = _by_name.get(name) or _decorated.get((place, cache_type, name))
    if found is not None:
        return found
    others = [spec for (_, *known), spec in _decorated.items() if known == [cache_type, name]]
    if len(others) == 1:
        return others[0]
    if others:
        raise UnknownLoaderError(
            f"several functions are called {name!r}, each with results in another cache: give each a "
            "namespace=… of its own, or name the server in this configuration as in theirs"
        )
    raise UnknownLoaderError(
        f"no loader of {cache_type!r} is called {name!r}: list its module under `loaders` in the "
        "configuration"
    )


def find_by_function(function: LoadFunction) -> Loader | None:
    """Return the loader that a function was registered as, if it was."""
    try:
        found = _by_function.get(function)
        return found if found is not None or not _standing else _standing.get(function)
    except TypeError:  # an object that can be called, and neither hashed nor referred to weakly
        return None


def stand_for(function: LoadFunction, load: LoadFunction) -> None:
    """Let a function that calls a loader bring its tags, TTL and recipe to a read, if it is registered."""
    spec = find_by_function(load)
    if spec is not None:
        _standing[function] = spec


def returns_awaitable(function: LoadFunction) -> bool:
    """Whether a function that is not async is annotated to return what is to be awaited."""
    plain = _plain_function(function)
    if plain is None or inspect.iscoroutinefunction(plain):
        return False
    try:
        found = _hint(plain)
    except (NameError, AttributeError, TypeError):
        return False
    return found in _AWAITABLES or typing.get_origin(found) in _AWAITABLES


def is_conditional(function: LoadFunction) -> bool:
    """Whether a function is annotated to return `NotModified`, beside its values."""
    plain = _plain_function(function)
    if plain is None:
        return False
    try:
        return _conditional[plain]
    except KeyError:
        pass
    try:
        found = NotModified in _members(_annotation(plain))
    except (NameError, AttributeError, TypeError):
        found = False
    _conditional[plain] = found
    return found


def returned_by(function: LoadFunction) -> Any:
    """Return what a function is annotated to return, but for `NotModified`.

    `Any` where it doesn't say, or says `None`.
    """
    plain = _plain_function(function)
    if plain is None:
        return Any
    try:
        return _returned[plain]
    except KeyError:
        pass
    returns: Any = Any
    try:
        returns = _resolve(plain)
        check_decodable(returns)
    except (NameError, AttributeError, TypeError) as error:
        returns = Any  # an annotation that exists for type checkers only
        _report(plain, "unresolved_annotation", f"{error}: hits are plain data; import it at run time, too")
    except UsageError as error:
        _report(plain, "undecodable_type", str(error))
    _returned[plain] = returns
    return returns


def values_returned_by(function: LoadFunction) -> Any:
    """Return what the values are of the mapping that a function is annotated to return, else `Any`."""
    into = returned_by(function)
    origin, members = typing.get_origin(into), typing.get_args(into)
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(members) == 2:
        return Any if members[1] in (type(None), object) else members[1]
    return Any


def registered() -> list[Loader]:
    """All loaders, by name."""
    return sorted([*_decorated.values(), *_by_name.values()], key=lambda spec: spec.name)


def import_loaders(modules: Sequence[str]) -> None:
    """Import the modules that register loaders; the working directory counts as on the path.

    Raises:
        ConfigError: A module can't be imported.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever a user's module does while it is imported
            raise ConfigError(
                f"loaders: can't import {module!r}: {type(error).__name__}: {error}; "
                "is it on the path, and are its dependencies installed?"
            ) from error


def _is_same(one: LoadFunction, other: LoadFunction) -> bool:
    """A module that is imported again defines its functions again."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _plain_function(function: LoadFunction) -> FunctionType | None:
    """The `def` behind a function, a bound method or an object with an async `__call__`."""
    if isinstance(function, FunctionType):
        return function
    wrapped = getattr(function, "__wrapped__", None)
    if isinstance(wrapped, FunctionType | MethodType):  # an object that looks like a function
        return _plain_function(wrapped)
    bound = function if isinstance(function, MethodType) else getattr(function, "__call__", None)  # noqa: B004
    found = getattr(bound, "__func__", None)
    return found if isinstance(found, FunctionType) else None


def _resolve(function: FunctionType) -> Any:
    """What a function is annotated to return, but for `NotModified`.

    Raises:
        NameError: The annotation names what is not there, or not yet.
    """
    returns = _annotation(function)
    members = _members(returns)
    if NotModified in members:
        values = tuple(member for member in members if member is not NotModified)
        returns = Union[values] if values else Any  # noqa: UP007  of a tuple
    return Any if returns in (None, type(None), object) else returns


def _members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; anything else alone."""
    is_union = typing.get_origin(annotation) in (Union, UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _annotation(function: FunctionType) -> Any:
    """What a function is annotated to return.

    Raises:
        NameError: The annotation names what is not there, or not yet.
    """
    returns = _hint(function)
    if typing.get_origin(returns) in _AWAITABLES and not inspect.iscoroutinefunction(function):
        returns = typing.get_args(returns)[-1]
    return returns


def _hint(function: FunctionType) -> Any:
    """As `_annotation`, as it is written.

    Raises:
        NameError: The annotation names what is not there, or not yet.
    """
    annotation = function.__annotations__.get("return", Any)
    if annotation is None:
        return Any
    # Of the return annotation alone: the others may name what exists for type checkers only.
    holder = SimpleNamespace(__annotations__={"returns": annotation})
    scope: dict[str, Any] = getattr(inspect.unwrap(function), "__globals__", function.__globals__)
    return typing.get_type_hints(holder, globalns=scope, include_extras=True)["returns"]


def _report(function: FunctionType, action: str, reason: str) -> None:
    """One line for each function that was written, not one for each that was made of it."""
    name = name_of(function)
    if name not in _reported:
        _reported.add(name)
        logger.warning("action=%s function=%s reason=%s", action, name, reason, extra={"action": action})
