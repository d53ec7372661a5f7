"""Bytes that no different value has, the same in every process: what keys are made of.

By type and by how the value is written: `1`, `1.0`, `True` and `"1"` differ, as do list and tuple,
`Decimal("1.0")` and `Decimal("1.00")`, and one instant in two time zones; sets and dicts don't depend on
their order; NaN equals itself. An object of a class of one's own is told apart by what its method
`__cache_key__` returns, if it has one, else by its fields where it is a dataclass, a named tuple, a Struct or
a model; all else is refused, and so is what has state beside its fields. A class is told apart by its name.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from pydantic import BaseModel
from pydantic_core import TzInfo

from stoker.core.decorators.classes import class_name
from stoker.core.decorators.unseen import refuse_unseen
from stoker.core.errors import UsageError
from stoker.core.identity import name_of

#: Values may hold others, so deep at most.
MAX_DEPTH = 64

#: Values that one may hold in all. What is shared counts as often as it is met: it is written as often.
MAX_VALUES = 100_000

_AS_TEXT = (date, time, timedelta, Decimal, UUID, PurePath)

_double = struct.Struct(">d")
_NAN = _double.pack(float("nan"))


class _Walk:
    """How deep and how far into a value the encoding has come."""

    __slots__ = ("depth", "left")

    def __init__(self) -> None:
        self.depth = MAX_DEPTH
        self.left = MAX_VALUES

    def enter(self, count: int) -> None:
        """Go into something that holds so many values.

        Raises:
            UsageError: It is too deep, or these are too many.
        """
        self.depth -= 1
        self.left -= count + 1
        if self.depth < 0:
            raise UsageError("it is nested too deeply")
        if self.left < 0:
            raise UsageError(
                f"it holds more than {MAX_VALUES} values: pass what identifies it, or leave it out with "
                "ignore or key_params"
            )

    def leave(self) -> None:
        """Come back to what holds it."""
        self.depth += 1


def encode_argument(value: Any, walk: _Walk | None = None) -> bytes:
    """Return bytes that no different value has.

    Raises:
        UsageError: The value is of a type that can't be told from others by what it holds, or holds too much.
    """
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case str() if type(value) is str:
            return encode_text(value)
        case int() if type(value) is int:
            return b"i%x;" % value
        case float() if type(value) is float:
            return b"d" + (_double.pack(value + 0.0) if value == value else _NAN)  # noqa: PLR0124  it is NaN
        case bytes() if type(value) is bytes:
            return b"b%d:%b" % (len(value), value)
        case _:
            return _encode_other(value, walk or _Walk())


def encode_text(value: str) -> bytes:
    """As `encode_argument`, of a text."""
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data)


def _encode_other(value: Any, walk: _Walk) -> bytes:
    kind = cast("Any", type(value))
    if hasattr(kind, "__cache_key__"):
        walk.enter(1)
        found = _named(name_of(kind), [b"k", encode_argument(value.__cache_key__(), walk)])
        walk.leave()
        return found
    if isinstance(value, type):
        return b"c" + encode_text(class_name(cast("type[Any]", value)))
    if isinstance(value, Flag):
        return _named(class_name(kind), [encode_argument(value.value)])  # several together may have no name
    if isinstance(value, Enum):
        return _named(class_name(kind), [encode_text(value.name)])
    if isinstance(value, _AS_TEXT):
        refuse_unseen(value, ())
        return _named(class_name(kind), [encode_text(_text_of(value))])
    try:
        parts = _parts_of(value, walk)
    except AttributeError as error:  # a field that was never given a value
        raise UsageError(str(error)) from None
    if parts is None:
        raise UsageError(
            f"a {kind.__qualname__} can't be part of a key: pass what identifies it, leave it out "
            "with ignore or key_params, or give its class a method __cache_key__"
        )
    return _named(class_name(kind), parts)


def _text_of(value: Any) -> str:
    if isinstance(value, date | time):
        zone = value.tzinfo if isinstance(value, datetime | time) else None
        return f"{value.isoformat()}[{_zone_name(zone)}]"
    return str(value).upper() if isinstance(value, Decimal) else str(value)  # 1e+9 is written in two ways


def _zone_name(zone: Any) -> str:
    """What tells a time zone apart beside the offset that is written out."""
    if zone is None or type(zone) in {timezone, TzInfo}:  # an offset, and no more
        return ""
    if not isinstance(zone, ZoneInfo) or zone.key is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise UsageError(
            f"the time zone {zone!r} can't be told from others: pass a time in UTC, or in a ZoneInfo that "
            "has a key"
        )
    return zone.key if type(zone) is ZoneInfo else f"{class_name(type(zone))} {zone.key}"


def _parts_of(value: Any, walk: _Walk) -> list[bytes] | None:
    """Encode the parts of what holds other values; None for what is not known to."""
    kind = cast("Any", type(value))
    if kind in {list, tuple}:
        return _items(value, walk)
    if kind in {set, frozenset}:
        return sorted(_items(value, walk))
    if kind is dict:
        return _pairs(value.items(), len(value), walk)
    if isinstance(value, BaseModel):
        return _parts_of_model(value, walk)
    if isinstance(value, msgspec.Struct):
        refuse_unseen(value, value.__struct_fields__)
        return _fields(value, value.__struct_fields__, walk)
    if dataclasses.is_dataclass(value):
        known = dataclasses.fields(value)
        refuse_unseen(value, {field.name for field in known})
        return _fields(value, [field.name for field in known if field.compare], walk)
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        refuse_unseen(value, ())
        return _items(cast("Any", value), walk)
    return None


def _parts_of_model(value: BaseModel, walk: _Walk) -> list[bytes]:
    """Fields, and what it was given beside them, which may have the name of a field or of anything else."""
    known = type(value).model_fields
    refuse_unseen(value, known)
    held = value.__dict__
    try:
        fields = [(name, held[name]) for name in known]  # what the class has of the name is something else
    except KeyError as missing:
        raise UsageError(f"a {type(value).__qualname__} has no value for its field {missing}") from None
    parts = _pairs(fields, len(fields), walk)
    for mark, beside in ((b"x", value.model_extra), (b"p", value.__pydantic_private__)):
        if beside:
            pairs = _pairs(beside.items(), len(beside), walk)
            parts.append(mark + _together(pairs))
    return parts


def _items(values: Any, walk: _Walk) -> list[bytes]:
    walk.enter(len(values))
    found = [encode_argument(item, walk) for item in values]
    walk.leave()
    return found


def _fields(value: Any, names: Iterable[str], walk: _Walk) -> list[bytes]:
    pairs = [(name, getattr(value, name)) for name in names]
    return _pairs(pairs, len(pairs), walk)


def _pairs(pairs: Iterable[tuple[Any, Any]], count: int, walk: _Walk) -> list[bytes]:
    walk.enter(2 * count)
    found = sorted(encode_argument(key, walk) + encode_argument(value, walk) for key, value in pairs)
    walk.leave()
    return found


def _named(name: str, parts: list[bytes]) -> bytes:
    return b"o" + encode_text(name) + _together(parts)


def _together(parts: list[bytes]) -> bytes:
    return b"%d[%b]" % (len(parts), b"".join(parts))
