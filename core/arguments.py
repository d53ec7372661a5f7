"""Keys for calls: a digest of a function's arguments that is the same in every process.

Different arguments never share a digest, and equal ones always do: by type and by how the value is written.
`1`, `1.0`, `True` and `"1"` differ, as do list and tuple, `Decimal("1.0")` and `Decimal("1.00")`, and one
instant in two time zones; sets and dicts don't depend on their order; NaN equals itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import struct
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

import msgspec
from pydantic import BaseModel

from stoker.core.errors import UsageError

#: Bytes of a digest.
DIGEST_BYTES = 16

#: Calls whose digests are remembered for a function; then all are forgotten.
MAX_REMEMBERED = 4096

#: Bytes that the arguments of a remembered call may have, about.
MAX_REMEMBERED_BYTES = 256

#: Arguments may hold others, so deep at most.
MAX_DEPTH = 64

#: Of these, calls with equal arguments of equal types are the same call.
_FLAT = frozenset((str, int, bool, bytes, type(None), float))

_AS_TEXT = (datetime, date, time, timedelta, Decimal, UUID, PurePath)

_double = struct.Struct(">d")


class ArgumentDigest:
    """Digests of the calls of one function.

    Args:
        function: The function.
        params: The parameters that count; all where not given.
        ignored: Parameters that don't count.

    Raises:
        UsageError: A parameter that was named is none of the function's.
    """

    def __init__(
        self, function: Callable[..., Any], params: Iterable[str] | None = None, ignored: Iterable[str] = ()
    ) -> None:
        self._signature = inspect.signature(function)
        names = set(self._signature.parameters)
        wanted = names if params is None else set(params)
        for name in [*(params or ()), *ignored]:
            if name not in names:
                raise UsageError(f"{function.__qualname__} has no parameter {name!r}: {', '.join(names)}")
        self._wanted = wanted - set(ignored)
        self._name = function.__qualname__
        self._remembered: dict[Any, str] = {}

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the digest of a call.

        Raises:
            UsageError: An argument can't be told from others.
            TypeError: The function can't be called so.
        """
        # Types come first: arguments of others types are never compared.
        call = (
            (*map(type, args), *args) if not kwargs else (*map(type, kwargs.values()), kwargs.items(), args)
        )
        try:
            return self._remembered[call]
        except KeyError:
            pass
        except TypeError:  # a list or dict among them
            return self._digest(args, kwargs)
        found = self._digest(args, kwargs)
        if not kwargs and _is_small(args):
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[call] = found
        return found

    def _digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        parts: list[bytes] = []
        for name, value in bound.arguments.items():
            if name in self._wanted:
                try:
                    parts += [_text(name), encode_argument(value)]
                except UsageError as error:
                    raise UsageError(f"argument {name!r} of {self._name}: {error}") from None
        return hashlib.sha256(b"".join(parts)).digest()[:DIGEST_BYTES].hex()


def _is_small(args: tuple[Any, ...]) -> bool:
    """Whether arguments may be held for long: all are plain values, and short together."""
    size = 0
    for value in args:
        kind = cast("Any", type(value))
        if kind not in _FLAT:
            return False
        if kind is str or kind is bytes:
            size += len(value)
        elif kind is int:
            size += value.bit_length() // 8
    return size < MAX_REMEMBERED_BYTES


def encode_argument(value: Any, depth: int = MAX_DEPTH) -> bytes:
    """Return bytes that no different value has.

    Raises:
        UsageError: The value is of a type that can't be told from others by what it holds.
    """
    match value:
        case None:
            return b"n"
        case bool():
            return b"t" if value else b"f"
        case str() if type(value) is str:
            return _text(value)
        case int() if type(value) is int:
            return b"i%d;" % value
        case float() if type(value) is float:
            return b"d" + (_double.pack(value + 0.0) if value == value else b"nan")  # noqa: PLR0124  it is NaN
        case bytes():
            return b"b%d:%b" % (len(value), value)
        case _:
            return _encode_other(value, depth)


def _encode_other(value: Any, depth: int) -> bytes:
    if not depth:
        raise UsageError("it is nested too deeply")
    if isinstance(value, Flag):
        return _named(value, [encode_argument(value.value, depth - 1)])  # several together may have no name
    if isinstance(value, Enum):
        return _named(value, [_text(value.name)])
    if isinstance(value, _AS_TEXT):
        return _named(value, [_text(value.isoformat() if isinstance(value, date | time) else str(value))])
    parts = _parts_of(value, depth - 1)
    if parts is None:
        raise UsageError(
            f"a {type(value).__qualname__} can't be part of a key: pass what identifies it, or leave it out "
            "with key_params"
        )
    return parts


def _parts_of(value: Any, depth: int) -> bytes | None:
    """Encode what holds other values; None for what is not known to."""
    kind = cast("Any", type(value))
    fields: Iterable[str]
    if kind in {list, tuple}:
        return _named(value, [encode_argument(item, depth) for item in value])
    if kind in {set, frozenset}:
        return _named(value, sorted(encode_argument(item, depth) for item in value))
    if kind is dict:
        return _named(value, _pairs(value.items(), depth))
    if isinstance(value, BaseModel):
        fields = [*kind.model_fields, *(value.model_extra or ())]
    elif isinstance(value, msgspec.Struct):
        fields = value.__struct_fields__
    elif dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value) if field.compare]
    else:
        return None
    return _named(value, _pairs(((name, getattr(value, name)) for name in fields), depth))


def _pairs(pairs: Iterable[tuple[Any, Any]], depth: int) -> Iterator[bytes]:
    yield from sorted(encode_argument(key, depth) + encode_argument(value, depth) for key, value in pairs)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data)


def _named(value: Any, parts: Iterable[bytes]) -> bytes:
    kind = cast("Any", type(value))
    found = list(parts)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return b"o%b%d[%b]" % (_text(name), len(found), b"".join(found))


def hash_key(data: Any) -> str:
    """Return a key for data of any shape: the SHA-256 of what tells it from all other data, in hex.

    Equal data have one key, in every process; a dict's order doesn't matter.

    Raises:
        UsageError: Something in it can't be told from others by what it holds.
    """
    try:
        return hashlib.sha256(encode_argument(data)).hexdigest()
    except UsageError as error:
        raise UsageError(f"data can't be hashed: {error}") from None
