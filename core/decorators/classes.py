"""What tells a class from all others: its module and name, as long as it can be found there.

Classes that functions make share names: those of a factory, of `Enum("Choice", …)`, of `make_dataclass`. Only
the one that stands in its module under its name is known by it.
"""

from __future__ import annotations

import sys
import types
import typing
import weakref
from typing import Any, cast

from stoker.core.errors import UsageError
from stoker.core.identity import LOCAL, name_of

#: Flag of classes that were made while Python ran; others are part of it, or of an extension.
_MADE = 1 << 9

#: Names that were found. A class that is made anew, as by a module's reload, goes on under its name.
_found: weakref.WeakKeyDictionary[type[Any], str] = weakref.WeakKeyDictionary()


def class_name(kind: type[Any]) -> str:
    """Return the name that no other class has.

    Raises:
        UsageError: Others may have its name.
    """
    try:
        return _found[kind]
    except KeyError:
        pass
    except TypeError:  # a class that can't be hashed
        return _looked_up(kind)
    name = _found[kind] = _looked_up(kind)
    return name


def _looked_up(kind: type[Any]) -> str:
    if LOCAL in kind.__qualname__:
        raise UsageError(
            f"the class {kind.__qualname__} was made by a function, and others may have its name: "
            f"define it in a module, {_ADVICE}"
        )
    generic: Any = getattr(kind, "__pydantic_generic_metadata__", None)
    if generic and generic["origin"] is not None:
        arguments = ", ".join(_argument_name(kind, one) for one in generic["args"])
        return f"{class_name(generic['origin'])}[{arguments}]"
    if kind.__flags__ & _MADE and not _stands_under_its_name(kind):
        raise UsageError(
            f"there is no class {kind.__qualname__} in {kind.__module__} that is this one, and others may "
            f"have its name: assign it to that name in its module, {_ADVICE}"
        )
    return name_of(kind)


_ADVICE = "give it a method __cache_key__, or leave it out with ignore or key_params"


def _stands_under_its_name(kind: type[Any]) -> bool:
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


def _argument_name(kind: type[Any], argument: Any) -> str:
    """What tells an argument of a generic model from others."""
    if argument is None:
        return class_name(types.NoneType)
    origin, arguments = typing.get_origin(argument), typing.get_args(argument)
    if origin is None and isinstance(argument, type):
        return class_name(cast("type[Any]", argument))
    if origin in {typing.Union, types.UnionType}:
        return " | ".join(_argument_name(kind, one) for one in arguments)
    if isinstance(origin, type):
        return f"{class_name(origin)}[{', '.join(_argument_name(kind, one) for one in arguments)}]"
    raise UsageError(f"{kind.__qualname__} is told apart by classes alone, not by {argument!r}: {_ADVICE}")
