"""Loaders: functions that compute a value from arguments, registered so that the worker can call them too."""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec

from stoker.core.errors import ConfigError, UnknownLoaderError, UsageError
from stoker.core.keys import check_type_name

P = ParamSpec("P")
R = TypeVar("R")

LoadFunction = Callable[..., Awaitable[Any]]
TagFunction = Callable[[Any], Iterable[str]]

#: The largest recipe that is kept, in bytes.
MAX_RECIPE_BYTES = 8 * 1024


class Loader(msgspec.Struct, frozen=True):
    """A registered loader."""

    name: str
    function: LoadFunction
    cache_type: str
    tags: TagFunction | None
    ttl: float | None
    returns: Any
    """What its results are decoded into; `Any` where the function has no annotation."""


class Recipe(msgspec.Struct, frozen=True, array_like=True):
    """What it takes to load a key again: the loader's name and its arguments."""

    loader: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # msgspec makes a new one for each

    def pack(self) -> bytes:
        """Return the stored form.

        Raises:
            UsageError: An argument is of a type that can't be stored, or they are too large.
        """
        try:
            data = msgspec.msgpack.encode(self)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise UsageError(
                f"arguments of loader {self.loader!r} can't be kept for warming: {error}"
            ) from None
        if len(data) > MAX_RECIPE_BYTES:
            raise UsageError(
                f"arguments of loader {self.loader!r} take {len(data)} bytes: pass an id instead"
            )
        return data

    @classmethod
    def unpack(cls, data: bytes) -> Recipe:
        """Read the stored form.

        Raises:
            UsageError: The bytes are no recipe.
        """
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise UsageError(f"{len(data)} bytes are no recipe: {error}") from None


_by_name: dict[str, Loader] = {}
_by_function: dict[LoadFunction, Loader] = {}


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
        UsageError: The name is taken by another function, or the function is not async.
    """

    def register(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        if not inspect.iscoroutinefunction(function):
            raise UsageError(f"{function!r} is no `async def` function")
        chosen = name or f"{function.__module__}.{function.__qualname__}"
        known = _by_name.get(chosen)
        if known is not None and not _is_same(known.function, function):
            raise UsageError(f"two loaders are called {chosen!r}: give one of them another name")
        entry = Loader(chosen, function, check_type_name(cache_type), tags, ttl, _returns(function))
        _by_name[chosen] = _by_function[function] = entry
        return function

    return register


def find(name: str) -> Loader:
    """Return the loader of a name.

    Raises:
        UnknownLoaderError: No imported module registers it.
    """
    try:
        return _by_name[name]
    except KeyError:
        raise UnknownLoaderError(
            f"no loader is called {name!r}: list its module under `loaders` in the configuration"
        ) from None


def find_by_function(function: LoadFunction) -> Loader | None:
    """Return the loader that a function was registered as, if it was."""
    return _by_function.get(function)


def registered() -> list[Loader]:
    """All loaders, by name."""
    return [_by_name[name] for name in sorted(_by_name)]


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


def _returns(function: LoadFunction) -> Any:
    try:
        returns = typing.get_type_hints(function).get("return", Any)
    except (NameError, TypeError):
        return Any  # an annotation that exists for type checkers only
    if returns is None or returns is type(None):
        return Any
    return returns
