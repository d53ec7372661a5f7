"""The key of a request: SHA-256 over its fields, whatever kind of object has them.

A request is what it says: equal fields give equal keys, be they of a `GenerationRequest`, of a dataclass, a
pydantic model or a Struct of the caller's, or of a dict. Every field counts that is not declared ignored. A
`temperature` of `1` is one of `1.0`; `temperature`, `top_p`, `max_tokens` and `model` that are `None` are not
there, nor is `extra`. Of all other fields `None` is a value, and `1`, `1.0`, `True` and `"1"` differ. As in
JSON, lists, tuples and sets are the same, and dates, UUIDs and decimals are their texts.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from math import copysign
from operator import attrgetter
from typing import Any, cast

import msgspec
from pydantic import BaseModel

from stoker.core.errors import UsageError
from stoker.core.keys import several
from stoker.core.responses.models import ChatMessage, GenerationRequest

#: Fields that say nothing where they are None.
_OPTIONAL = ("temperature", "top_p", "max_tokens", "model")
_OPTIONAL_IN_MESSAGES = frozenset(("name", "tool_calls", "tool_call_id"))

#: Where further fields may stand together.
_EXTRA = "extra"

_PLAIN = (str, int, float, bytes, list, dict)
_SCALARS = frozenset((str, int, float, bool, bytes, type(None)))


def request_key(request: Any, *, ignore: Iterable[str] = ()) -> str:
    """Return the key of a request: 64 hexadecimal digits.

    >>> request_key({"messages": [], "temperature": 1}) == request_key(GenerationRequest([], 1.0))
    True

    Args:
        request: A `GenerationRequest`, or any dataclass, Struct, pydantic model or dict of the same shape.
        ignore: Names of fields that don't count.

    Raises:
        UsageError: It is none of these, says nothing, or a field of it can't be part of a key.
    """
    ignored = ignore if isinstance(ignore, tuple) else tuple(several("names in ignore", ignore))
    if type(request) is GenerationRequest and not request.extra and "messages" not in ignored:
        try:
            if _is_normal(request):
                named = {name: None for name in ignored if name in _OPTIONAL}
                counted = msgspec.structs.replace(request, **named) if named else request
                return hashlib.sha256(_encode_as_is(counted)).hexdigest()
        except Exception:  # noqa: BLE001, S110  told below, with the field's name
            pass
    return hashlib.sha256(_encode_request(_normalized(request, ignored))).hexdigest()


def encode_canonically(what: str, fields: Mapping[str, Any]) -> bytes:
    """Return bytes that no other fields have, whatever their order.

    Raises:
        UsageError: A field can't be part of a key; it is named as a field of `what`.
    """
    try:
        return _encode(fields)
    except Exception as whole:  # noqa: BLE001  msgspec and the values themselves raise what they like
        for name, value in fields.items():
            try:
                _encode({name: value})
            except Exception as error:  # noqa: BLE001  as above
                raise UsageError(
                    f"field {name!r:.80} of {what} can't be part of a key: {error}; pass texts, numbers, "
                    "and lists and dicts by text of these"
                ) from None
        raise UsageError(f"{what} can't be part of a key: {whole}") from None


def _encode_request(fields: dict[str, Any]) -> bytes:
    try:
        return _encode_as_is({name: _brought(name, value) for name, value in fields.items()})
    except Exception as error:  # noqa: BLE001  as above
        encode_canonically("the request", fields)  # raises, with the field's name
        raise UsageError(f"the request can't be part of a key: {error}") from None


def _brought(name: str, value: Any) -> Any:
    """Bring a field's value to what is the same for equal ones."""
    if type(value) in _SCALARS:
        return value
    if name == "messages" and isinstance(value, list | tuple):
        return [_normal_message(message) for message in cast("list[Any]", value)]
    return _plain(value)


def _is_normal(request: GenerationRequest) -> bool:
    """Whether a request's own encoding is what its fields are brought to."""
    limit, messages = request.max_tokens, request.messages
    if not (_is_float(request.temperature) and _is_float(request.top_p)):
        return False
    if limit is not None and type(limit) is not int:
        return False
    if type(messages) is not list:
        return False
    for message in messages:
        if type(message) is not ChatMessage or type(message.content) is not str or message.tool_calls:
            return False
    return True


def _is_float(value: Any) -> bool:
    return value is None or (type(value) is float and (value != 0.0 or copysign(1.0, value) > 0))


def _normalized(request: Any, ignore: Iterable[str]) -> dict[str, Any]:
    """Bring a request to fields that are the same for equal ones."""
    fields = fields_of(request)
    if fields is None:
        raise UsageError(
            f"a {type(request).__qualname__} is no request: pass a GenerationRequest, or a dataclass, "
            "a model or a dict of the same shape"
        )
    _spread_extra(fields)
    for name in ignore:
        fields.pop(name, None)
    for name in _OPTIONAL:
        if fields.get(name, 0) is None:
            del fields[name]
    if not fields:
        raise UsageError("the request says nothing: it has no field that counts")
    for name in ("temperature", "top_p"):
        if name in fields:
            fields[name] = _as_float(name, fields[name])
    limit = fields.get("max_tokens")
    if isinstance(limit, float) and limit.is_integer():
        fields["max_tokens"] = int(limit)
    return fields


def _spread_extra(fields: dict[str, Any]) -> None:
    """Put what stands in `extra` beside the other fields."""
    extra = fields.get(_EXTRA, fields)
    if extra is None:
        del fields[_EXTRA]
    if extra is fields or not isinstance(extra, Mapping):
        return
    further = cast("Mapping[str, Any]", extra)
    del fields[_EXTRA]
    twice = fields.keys() & further.keys()
    if twice:
        raise UsageError(f"the request has {min(twice)!r} twice: beside `extra`, and in it")
    fields |= further


def _as_float(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    try:
        return float(value) + 0.0
    except (OverflowError, ValueError):
        raise UsageError(
            f"field {name!r} of the request is no number that can be used: {value!r:.40}"
        ) from None


def _normal_message(message: Any) -> Any:
    """Bring a message to fields that are the same for equal ones; most are encoded so as they are."""
    if _is_brought(message):
        return message
    found = _plain(message)
    if not isinstance(found, dict):
        return found
    fields = cast("dict[str, Any]", found)
    return {
        name: value
        for name, value in fields.items()
        if value is not None or name not in _OPTIONAL_IN_MESSAGES
    }


def _is_brought(message: Any) -> bool:
    """Whether a message is encoded as it is to be."""
    kind = cast("Any", type(message))
    if kind is ChatMessage:
        return type(message.content) is str and not message.tool_calls
    if kind is dict:
        return _is_flat(message.items())
    names = _names_of(kind)
    if names is None or not dataclasses.is_dataclass(message):
        return False
    values = _getter_of(kind)(message)
    for value in values:
        if type(value) is not str:
            return _is_flat(zip(names, values, strict=True))
    return True


def _is_flat(fields: Iterable[tuple[str, Any]]) -> bool:
    """Whether there is nothing in a message's fields that is to be brought to something else."""
    for name, value in fields:  # no generator: it would take twice as long
        if type(value) is not str and (
            type(value) not in _SCALARS or (value is None and name in _OPTIONAL_IN_MESSAGES)
        ):
            return False
    return True


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the fields of a dict, a Struct, a model or a dataclass by name; None for anything else.

    Fields that are UNSET are not there; a Struct's tag, which tells it from others of the same fields, is.
    """
    kind = cast("Any", type(value))
    names = _names_of(kind)
    if names is None:
        return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else None
    pairs = zip(names, _getter_of(kind)(value), strict=True)
    found = {name: one for name, one in pairs if one is not msgspec.UNSET}
    if issubclass(kind, msgspec.Struct):
        tag = kind.__struct_config__.tag
        return found if tag is None else {str(kind.__struct_config__.tag_field): tag} | found
    return found | (value.model_extra or {}) if isinstance(value, BaseModel) else found


@lru_cache(maxsize=1024)
def _names_of(kind: type[Any]) -> tuple[str, ...] | None:
    """The fields that a class declares; None for one that is no kind of record."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if issubclass(kind, BaseModel):
        return tuple(kind.model_fields)
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


@lru_cache(maxsize=1024)
def _getter_of(kind: Any) -> Callable[[Any], Sequence[Any]]:
    """What gets the values of the fields that a class declares."""
    names: tuple[str, ...] = _names_of(kind) or ()
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: [getattr(value, name) for name in names]


def _plain(value: Any) -> Any:
    """Bring what is nested to dicts of its fields, however its class would have them encoded."""
    kind = cast("Any", type(value))
    if kind in _SCALARS:
        return value
    if kind is dict:
        return {name: one if type(one) in _SCALARS else _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        parts = cast("list[Any]", value)
        return [one if type(one) in _SCALARS else _plain(one) for one in parts]
    fields = fields_of(value)
    if fields is not None:
        return {name: _plain(one) for name, one in fields.items()}
    if isinstance(value, set | frozenset):  # what is in it may have no order of its own
        return sorted(map(_plain, cast("set[Any]", value)), key=_encode_as_is)
    return value


def _encode_hook(value: Any) -> Any:
    """What msgspec doesn't know: classes derived from plain ones."""
    kind: Any
    for kind in _PLAIN:
        if isinstance(value, kind):
            return kind.__str__(value) if kind is str else kind(value)
    raise TypeError(f"a {type(value).__qualname__} is no plain value")


_encode_as_is = msgspec.msgpack.Encoder(enc_hook=_encode_hook, order="sorted").encode


def _encode(fields: Mapping[str, Any]) -> bytes:
    return _encode_as_is(_plain(fields))
