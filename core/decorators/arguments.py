"""Keys for calls: a digest of a function's arguments that is the same in every process.

Different arguments never share a digest, and equal ones always do: by type and by how the value is written.
`1`, `1.0`, `True` and `"1"` differ, as do list and tuple, `Decimal("1.0")` and `Decimal("1.00")`, and one
instant in two time zones; sets and dicts don't depend on their order; NaN equals itself. An object of a class
of one's own is told apart by what its method `__cache_key__` returns, if it has one, else by its fields where
it is a dataclass, a named tuple, a Struct or a model; all else is refused, and so is what has state beside
its fields. A class is told apart by its name: one that a function made is refused, and so are its instances.

The digests are the same in every process and on every version of Python: tests/snapshots holds some.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from pathlib import PurePath
from typing import Any, cast
from uuid import UUID

import msgspec
from pydantic import BaseModel

from stoker.core.decorators.unseen import refuse_unseen
from stoker.core.errors import UsageError
from stoker.core.identity import LOCAL, name_of
from stoker.core.keys import check_text, several

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

#: Parameters that a call may give by name.
_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

_AS_TEXT = (datetime, date, time, timedelta, Decimal, UUID, PurePath)

_double = struct.Struct(">d")
_NAN = _double.pack(float("nan"))


class ArgumentDigest:
    """Digests of the calls of one function.

    Args:
        function: The function.
        params: The parameters that count; all where not given.
        ignored: Parameters that don't count.
        prefix: What the digests are to begin with.

    Raises:
        UsageError: A parameter that was named is none of the function's, or a text was given where several
            names are expected.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        params: Iterable[str] | None = None,
        ignored: Iterable[str] | None = None,
        *,
        prefix: str = "",
    ) -> None:
        self._prefix = prefix
        self._signature = inspect.signature(function)
        self._name = getattr(function, "__qualname__", repr(function))
        names = list(self._signature.parameters)
        wanted = set(names if params is None else self._known("key_params", params))
        self.params = tuple(sorted(wanted - set(self._known("ignore", ignored or ()))))
        """The names of the parameters that count, sorted."""
        self._uncounted = _uncounted(self._signature, self.params)
        self._remembered: dict[Any, str] = {}

    def _known(self, what: str, given: Iterable[str]) -> list[str]:
        known, found = self._signature.parameters, list(several(f"names in {what}", given))
        for name in found:
            if name not in known:
                raise UsageError(
                    f"{what}: {self._name} has no parameter {name!r}; it has: {', '.join(known)}"
                )
        return found

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the digest of a call.

        Raises:
            UsageError: An argument can't be told from others.
            TypeError: The function can't be called so.
        """
        # Types come first: arguments of other types are never compared.
        call = (
            (*map(type, args), *args)
            if not kwargs
            else (len(args), *map(type, args), *map(type, kwargs.values()), *kwargs, *kwargs.values(), *args)
        )
        try:
            return self._remembered[call]
        except KeyError:
            pass
        except TypeError:  # a list or dict among them
            return self._digest(args, kwargs)
        found = self._digest(args, kwargs)
        if _is_small((*args, *kwargs.values()) if kwargs else args):
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[call] = found
        return found

    def each(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, str]:
        """Return a digest for each parameter of a call that counts.

        Raises:
            UsageError: An argument can't be told from others.
            TypeError: The function can't be called so.
        """
        return {name: _digest_of([data]) for name, data in self._encoded(args, kwargs).items()}

    def each_alike(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, str]]:
        """As `each`, with digests of what is written alike, too: of `1` and `"1"`, of a UUID and its text.

        Raises:
            UsageError: An argument can't be told from others.
            TypeError: The function can't be called so.
        """
        bound = self._bound(args, kwargs)
        return [
            (name, _digest_of([self._encode(name, value)]))
            for name in self.params
            for value in _alike(bound[name])
        ]

    def is_whole(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call gives nothing but what counts."""
        first, names, others = self._uncounted
        if len(args) > first or not names.isdisjoint(kwargs):
            return False
        return others is None or others >= kwargs.keys()

    def _digest(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
        parts = [_text(name) + data for name, data in self._encoded(args, kwargs).items()]
        return self._prefix + _digest_of(parts)

    def _encoded(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, bytes]:
        bound = self._bound(args, kwargs)
        return {name: self._encode(name, bound[name]) for name in self.params}

    def _bound(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def _encode(self, name: str, value: Any) -> bytes:
        try:
            return encode_argument(value)
        except UsageError as error:
            raise UsageError(f"argument {name!r} of {self._name}: {error}") from None


def generate_cache_key(prefix: str, /, **arguments: Any) -> str:
    """Return a key for arguments, `prefix:` and 32 hexadecimal digits: the same for equal ones in any order.

    ```python
    key = generate_cache_key("tasks", user_id=1, status="active")
    assert key == generate_cache_key("tasks", status="active", user_id=1)
    ```

    Raises:
        UsageError: The prefix is no text, or an argument can't be told from others.
    """
    check_text("a prefix", prefix)
    parts: list[bytes] = []
    for name in sorted(arguments):
        try:
            parts.append(_text(name) + encode_argument(arguments[name]))
        except UsageError as error:
            raise UsageError(f"argument {name!r} of a key of {prefix!r}: {error}") from None
    return f"{prefix}:{_digest_of(parts)}"


def _uncounted(
    signature: inspect.Signature, params: Collection[str]
) -> tuple[float, frozenset[str], frozenset[str] | None]:
    """What doesn't tell calls apart.

    Positions from one on, and keywords; and, where all others don't, the keywords that are none of these.
    """
    there = signature.parameters.values()
    by_place = [one for one in there if one.kind not in {one.KEYWORD_ONLY, one.VAR_KEYWORD}]
    first = next((at for at, one in enumerate(by_place) if one.name not in params), math.inf)
    names = frozenset(one.name for one in there if one.name not in params and one.kind is not one.VAR_KEYWORD)
    if all(one.name in params for one in there if one.kind is one.VAR_KEYWORD):
        return first, names, None
    return first, names, frozenset(one.name for one in there if one.kind in _BY_KEYWORD)


def _alike(value: Any) -> list[Any]:
    """A value, and what others may have been given in its place: a number or a UUID, or a text of it."""
    kind = cast("Any", type(value))
    if kind is int or kind is UUID:
        return [value, str(value)]
    if kind is str:
        return [value, *(other for other in (_parsed(int, value), _parsed(UUID, value)) if other is not None)]
    return [value]


def _parsed(kind: Callable[[str], Any], text: str) -> Any:
    try:
        found = kind(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def _digest_of(parts: Iterable[bytes]) -> str:
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
            return b"i%x;" % value
        case float() if type(value) is float:
            return b"d" + (_double.pack(value + 0.0) if value == value else _NAN)  # noqa: PLR0124  it is NaN
        case bytes() if type(value) is bytes:
            return b"b%d:%b" % (len(value), value)
        case _:
            return _encode_other(value, depth)


def _encode_other(value: Any, depth: int) -> bytes:
    if not depth:
        raise UsageError("it is nested too deeply")
    kind = cast("Any", type(value))
    if hasattr(kind, "__cache_key__"):
        return _named(value, [b"k", encode_argument(value.__cache_key__(), depth - 1)])
    if isinstance(value, type):
        return _encode_class(cast("type[Any]", value))
    if LOCAL in kind.__qualname__:
        raise UsageError(
            f"the class {kind.__qualname__} was made by a function, and others may have its name: "
            "define it in a module, or give it a method __cache_key__"
        )
    if isinstance(value, Flag):
        return _named(value, [encode_argument(value.value, depth - 1)])  # several together may have no name
    if isinstance(value, Enum):
        return _named(value, [_text(value.name)])
    if isinstance(value, _AS_TEXT):
        refuse_unseen(value, ())
        return _named(value, [_text(_text_of(value))])
    try:
        parts = _parts_of(value, depth - 1)
    except AttributeError as error:  # a field that was never given a value
        raise UsageError(str(error)) from None
    if parts is None:
        raise UsageError(
            f"a {type(value).__qualname__} can't be part of a key: pass what identifies it, leave it out "
            "with ignore or key_params, or give its class a method __cache_key__"
        )
    return parts


def _text_of(value: Any) -> str:
    if isinstance(value, date | time):
        return f"{value.isoformat()}[{getattr(getattr(value, 'tzinfo', None), 'key', '')}]"
    return str(value).upper() if isinstance(value, Decimal) else str(value)  # 1e+9 is written in two ways


def _encode_class(value: type[Any]) -> bytes:
    if LOCAL in value.__qualname__:
        raise UsageError(
            f"{value.__qualname__} was made by a function, and others may have its name: leave it out "
            "with ignore or key_params"
        )
    return b"c" + _text(name_of(value))


def _parts_of(value: Any, depth: int) -> bytes | None:
    """Encode what holds other values; None for what is not known to."""
    kind = cast("Any", type(value))
    if kind in {list, tuple}:
        return _named(value, [encode_argument(item, depth) for item in value])
    if kind in {set, frozenset}:
        return _named(value, sorted(encode_argument(item, depth) for item in value))
    if kind is dict:
        return _named(value, _pairs(value.items(), depth))
    fields: Iterable[str]
    if isinstance(value, BaseModel):
        fields = [*kind.model_fields, *(value.model_extra or ()), *(value.__pydantic_private__ or ())]
        refuse_unseen(value, kind.model_fields)
    elif isinstance(value, msgspec.Struct):
        fields = value.__struct_fields__
        refuse_unseen(value, fields)
    elif dataclasses.is_dataclass(value):
        known = dataclasses.fields(value)
        fields = [field.name for field in known if field.compare]
        refuse_unseen(value, {field.name for field in known})
    elif isinstance(value, tuple) and hasattr(kind, "_fields"):
        refuse_unseen(value, ())
        return _named(value, [encode_argument(item, depth) for item in cast("Any", value)])
    else:
        return None
    return _named(value, _pairs(((name, getattr(value, name)) for name in fields), depth))


def _pairs(pairs: Iterable[tuple[Any, Any]], depth: int) -> Iterator[bytes]:
    yield from sorted(encode_argument(key, depth) + encode_argument(value, depth) for key, value in pairs)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(data), data)


def _named(value: Any, parts: Iterable[bytes]) -> bytes:
    found = list(parts)
    return b"o%b%d[%b]" % (_text(name_of(type(value))), len(found), b"".join(found))


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
