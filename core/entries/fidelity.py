"""Whether values come back from what is stored as they were.

What a class says of itself is looked at once: state that pydantic leaves out, or masks, is no matter of the
value. What only values show, such as a serializer that rounds, is looked for when the first one of a class is
stored: it is read back, and compared.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec
from pydantic import BaseModel, PlainSerializer, Secret, SecretBytes, SecretStr, WrapSerializer

_SECRETS = (Secret, SecretBytes, SecretStr)
_SERIALIZERS = (PlainSerializer, WrapSerializer)
_NOTHING = object()


def state_left_out(kind: type[Any]) -> str:
    """Name a field of a class, or of one within it, that is not stored as it is, and why; "" where none is.

    What has a serializer of its own is not judged.
    """
    return next(_left_out(kind, set()), "")


def _left_out(hint: Any, seen: set[int]) -> Iterator[str]:
    for kind in _classes_in(hint):
        if id(kind) in seen:
            continue
        seen.add(id(kind))
        decorators = getattr(kind, "__pydantic_decorators__", None)
        if getattr(decorators, "model_serializers", None):
            continue
        for name in getattr(kind, "__private_attributes__", ()):
            yield f"{kind.__name__}.{name} is private, and not stored"
        own = _own_serializers(decorators)
        for name, field, metadata in _fields(kind):
            if getattr(field, "exclude", None) or getattr(field, "exclude_if", None):
                yield f"{kind.__name__}.{name} is excluded, and not stored"
            if own & {name, "*"} or any(isinstance(item, _SERIALIZERS) for item in metadata):
                continue
            if any(issubclass(part, _SECRETS) for part in _classes_in(field.annotation)):
                yield f"{kind.__name__}.{name} is a secret, and stored as asterisks"
            yield from _left_out(field.annotation, seen)


@dataclasses.dataclass(slots=True)
class _Plain:
    """A field of a class that is none of pydantic's."""

    annotation: Any


def _fields(kind: type[Any]) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Names, fields and metadata of what a class declares."""
    declared = getattr(kind, "__pydantic_fields__", None)
    if isinstance(declared, dict):
        for name, field in cast("dict[str, Any]", declared).items():
            yield name, field, tuple(field.metadata)
    elif dataclasses.is_dataclass(kind) or hasattr(kind, "__total__") or hasattr(kind, "_fields"):
        try:
            hints = get_type_hints(kind, include_extras=True)
        except Exception:  # noqa: BLE001  names that are not defined, or not here: they are not judged
            return
        for name, hint in hints.items():
            yield name, _Plain(hint), ()


def _own_serializers(decorators: Any) -> set[str]:
    """The fields that have a serializer of the class's own."""
    found: dict[str, Any] = getattr(decorators, "field_serializers", None) or {}
    return {name for decorator in found.values() for name in decorator.info.fields}


def _classes_in(hint: Any) -> Iterator[type[Any]]:
    """The classes that an annotation is made of, but for what has a serializer of its own."""
    if type(hint).__name__ == "TypeAliasType":
        hint = hint.__value__
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and origin is None:
        yield hint
    elif origin is not Literal and not any(isinstance(item, _SERIALIZERS) for item in arguments):
        if isinstance(origin, type):
            yield origin
        for argument in arguments:
            yield from _classes_in(argument)


def class_of(value: object) -> type[Any]:
    """The class of a value, for type checkers that would know more of it."""
    return type(value)


def is_model(kind: type[Any]) -> bool:
    """Whether values of a class have fields that serializers know."""
    return issubclass(kind, BaseModel | msgspec.Struct) or dataclasses.is_dataclass(kind)


def difference(value: Any, again: Any, name: str = "") -> str:
    """Say where what was read back differs from what was stored; "" where nothing shows it.

    Where an annotation leaves open what a value is (`Any`), it comes back as plain data: no difference.
    """
    kind, other = class_of(value), class_of(again)
    if is_model(kind) and is_model(other):
        if kind is not other:
            return f"{name or 'it'} is a {kind.__name__} and comes back as a {other.__name__}"
        return _first(_state(value), _state(again), name or kind.__name__)
    if isinstance(value, list | tuple) and isinstance(again, list | tuple):
        one, two = cast("list[Any]", value), cast("list[Any]", again)
        return _first(dict(enumerate(one)), dict(enumerate(two)), name)
    if isinstance(value, dict) and isinstance(again, dict):
        return _first({**value}, {**again}, name)
    if kind is not other or cast("Any", kind).__eq__ is object.__eq__:
        return ""
    try:
        same = bool(value == again) or bool(value != value)  # noqa: PLR0124  NaN is not equal to itself
    except Exception:  # noqa: BLE001  such as arrays, of which the comparison is one
        return ""
    return "" if same else f"{name or 'it'} comes back as another value"


def _first(one: dict[Any, Any], two: dict[Any, Any], name: str) -> str:
    for part, value in one.items():
        again = two.get(part, _NOTHING)
        place = f"{name}.{part}" if isinstance(part, str) else name
        if again is not _NOTHING:
            if found := difference(value, again, place):
                return found
        elif isinstance(part, str) and part not in two and len(two) < len(one):
            return f"{place} is lost"
    return ""


def _state(value: Any) -> dict[str, Any]:
    """All that an instance holds, but what its class works out."""
    kind = class_of(value)
    names = getattr(kind, "__struct_fields__", ())
    if dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind))
    found = {name: getattr(value, name) for name in names if hasattr(value, name)}
    kept = {name: part for name, part in getattr(value, "__dict__", {}).items() if not hasattr(kind, name)}
    return {
        **kept,
        **found,
        **(getattr(value, "__pydantic_extra__", None) or {}),
        **(getattr(value, "__pydantic_private__", None) or {}),
    }


def holds_not_finite(data: Any) -> bool:
    """Whether there is an infinity or a NaN among plain data."""
    todo: list[Any] = [data]
    while todo:
        part = todo.pop()
        if isinstance(part, float) and not math.isfinite(part):
            return True
        if isinstance(part, dict):
            todo += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            todo += cast("list[Any]", part)
    return False
