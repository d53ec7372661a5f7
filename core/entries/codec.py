"""Values to payloads and back: MessagePack or JSON through msgspec, compressed above a threshold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
import msgspec.inspect
from pydantic import BaseModel, TypeAdapter, ValidationError

from stoker.core.entries.compression import TooLargeError, compress, expand
from stoker.core.entries.entry import (
    COMPRESSION_MASK,
    SERIALIZERS,
    Entry,
    compression_of,
    make_flags,
    serializer_of,
)
from stoker.core.entries.fidelity import class_of, difference, holds_not_finite, is_model, state_left_out
from stoker.core.errors import EntryError, UsageError
from stoker.core.settings.policy import Policy

#: Stands for a value that is not there; `None` is a value.
MISSING: Any = object()

#: Decoders of annotations that can't be hashed, so many at most; then they are built anew.
MAX_UNHASHABLE = 1024

Decode: TypeAlias = Callable[[bytes], Any]

#: Classes of which a value has been read back as it was, so many at most; then each is looked at anew.
MAX_CLASSES = 1024

_PLAIN = frozenset[type]({bool, int, float, str, bytes, list, tuple, dict, set, frozenset})
_come_back = set[type](_PLAIN)

_unhashable: dict[tuple[str, int], tuple[Decode | UsageError, Any]] = {}


class UnstorableError(Exception):
    """The value can't be stored: of a type no serializer knows, or that loses some of it, or too large."""


def _encode_hook(value: Any) -> Any:
    kind = class_of(value)
    if not isinstance(value, BaseModel):
        raise NotImplementedError(f"no serializer for {kind.__name__}")
    if kind not in _come_back and (left_out := state_left_out(kind)):
        raise NotImplementedError(f"{left_out}, so a hit would be another value")
    data = value.model_dump(mode="json", by_alias=False, round_trip=True)
    if kind not in _come_back:
        _check_that_it_comes_back(value, lambda: _decode_hook(kind, data))
    return data


def _check_that_it_comes_back(value: Any, read: Callable[[], Any]) -> None:
    """Read the first value of a class back, and compare it; then others of the class are taken for as good.

    Raises:
        NotImplementedError: It can't be read, or is another value.
    """
    kind = class_of(value)
    try:
        found = difference(value, read()) if is_model(kind) else ""
    except NameError:
        return  # a class that is not complete yet
    except ValidationError as error:
        # The field alone: what stands in it may be a secret.
        fields = {str(detail["loc"][0])[:80] for detail in error.errors(include_input=False) if detail["loc"]}
        found = f"{', '.join(sorted(fields)[:3]) or 'it'} can't be read back"
    except Exception as error:  # noqa: BLE001  validators of types raise what they like
        found = f"it can't be read back ({type(error).__name__})"
    if found:
        raise NotImplementedError(f"{found}, so a hit would be another value")
    if len(_come_back) >= MAX_CLASSES:
        _come_back.clear()
        _come_back.update(_PLAIN)
    _come_back.add(kind)


_MSGPACK = msgspec.msgpack.Encoder(enc_hook=_encode_hook)
_JSON = msgspec.json.Encoder(enc_hook=_encode_hook)
_raw_msgpack = msgspec.msgpack.Decoder(msgspec.Raw).decode
_raw_json = msgspec.json.Decoder(msgspec.Raw).decode
#: Decodes plain MessagePack as plain data.
decode_plain: Decode = msgspec.msgpack.Decoder(Any).decode


#: A double of MessagePack whose exponent is that of infinities and NaN, or other bytes that look so.
_LIKE_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")


def _check_that_json_has_it(value: Any) -> None:
    """Refuse numbers that JSON stores as null.

    Raises:
        NotImplementedError: There is one.
    """
    try:
        suspicious = _LIKE_NOT_FINITE.search(_MSGPACK.encode(value)) is not None
    except OverflowError:  # an integer of more than 64 bits, which JSON has
        suspicious = True
    if suspicious and holds_not_finite(msgspec.to_builtins(value, enc_hook=_encode_hook)):
        raise NotImplementedError(
            "JSON has no infinity and no NaN, so a hit would be another value: say `serializer: msgpack`"
        )


def encode_value(value: Any, policy: Policy) -> tuple[int, bytes]:
    """Return (header flags, payload) of a value under a policy.

    Raises:
        UnstorableError: No serializer knows the value's type, or what is stored would be another value, or it
            is larger than the policy's `max_entry`.
    """
    if value is None:
        return make_flags(policy.serializer, "none", is_none=True), b""
    binary = policy.serializer == "msgpack"
    try:
        payload = (_MSGPACK if binary else _JSON).encode(value)
        if not binary and b"null" in payload:
            _check_that_json_has_it(value)
        if type(value) not in _come_back:
            _check_that_it_comes_back(value, lambda: _decoder(policy.serializer, class_of(value))(payload))
    except (NotImplementedError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnstorableError(f"{type(value).__name__} can't be stored: {error}") from None
    if len(payload) > policy.max_entry:
        raise UnstorableError(
            f"{len(payload)} bytes are more than the type's max_entry of {policy.max_entry}"
        )
    compression = policy.compression
    if compression != "none" and len(payload) > policy.compress_above:
        smaller = compress(payload, compression, policy.compression_level)
        if len(smaller) < len(payload):
            return make_flags(policy.serializer, compression, is_none=False), smaller
    return 0 if binary else make_flags("json", "none", is_none=False), payload


def decode_value(entry: Entry, into: Any, max_bytes: int) -> Any:
    """Return the value of an entry, as `into` (a type, or `Any`) where one is asked for.

    Raises:
        EntryError: The payload is damaged, larger than `max_bytes`, or not of the type.
    """
    return None if entry.is_none else decode_payload(entry.flags, entry.payload, into, max_bytes)


def decode_payload(flags: int, payload: bytes, into: Any, max_bytes: int) -> Any:
    """Return the value of a payload that an entry's flags describe, as `into`.

    Raises:
        EntryError: The payload is damaged, larger than `max_bytes`, or not of the type.
    """
    if flags & COMPRESSION_MASK:
        payload = expand(payload, compression_of(flags), max_bytes)
    try:
        if not flags and into is Any:
            return decode_plain(payload)
        return _decoder(serializer_of(flags), into)(payload)
    except Exception as error:  # noqa: BLE001  validators of types raise what they like
        raise EntryError(f"the payload can't be decoded: {type(error).__name__}: {error}") from None


def as_read(value: Any, into: Any) -> Any:
    """Return a value as a hit gives it that is read as `into`; itself where that is `Any`.

    Raises:
        UnstorableError: No serializer knows its type.
        EntryError: It is not of the type.
    """
    if into is Any:
        return value
    try:
        payload = _MSGPACK.encode(value)
    except (NotImplementedError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnstorableError(f"{type(value).__name__} can't be stored: {error}") from None
    return decode_payload(0, payload, into, len(payload))


def is_decodable(flags: int, payload: bytes, max_bytes: int) -> bool:
    """Whether a payload is whole, whatever type it must be read as."""
    try:
        if flags & COMPRESSION_MASK:
            payload = expand(payload, compression_of(flags), max_bytes)
        (_raw_msgpack if serializer_of(flags) == "msgpack" else _raw_json)(payload)
    except TooLargeError:
        return True
    except (EntryError, msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def decoder_of(into: Any) -> Decode:
    """Return what decodes payloads of plain MessagePack as `into`; it raises what it likes."""
    return decode_plain if into is Any else _decoder("msgpack", into)


def check_decodable(into: Any) -> None:
    """Build the decoders of a type.

    Raises:
        UsageError: Values of the type can't be made from what is stored.
        NameError: It names a type that is not defined yet.
    """
    for serializer in SERIALIZERS:
        _decoder(serializer, into)


def _decoder(serializer: str, into: Any) -> Decode:
    try:
        found = _known_decoder(serializer, into)
    except TypeError:  # an annotation that can't be hashed
        found = _unhashable_decoder(serializer, into)
    if isinstance(found, UsageError):
        raise found
    return found


@lru_cache(maxsize=1024)
def _known_decoder(serializer: str, into: Any) -> Decode | UsageError:
    """A refusal is kept too: it is as dear to find as a decoder."""
    try:
        return _build_decoder(serializer, into)
    except NameError:
        raise
    except Exception as error:  # noqa: BLE001  as do msgspec, pydantic, and the types
        return UsageError(f"no values of {into!r} can be made from what is stored: {error}")


def _unhashable_decoder(serializer: str, into: Any) -> Decode | UsageError:
    known = _unhashable.get((serializer, id(into)))
    if known is None:
        if len(_unhashable) >= MAX_UNHASHABLE:
            _unhashable.clear()
        # The annotation is kept with it, so that its id stays its own.
        known = _unhashable[serializer, id(into)] = _known_decoder.__wrapped__(serializer, into), into
    return known[0]


def _build_decoder(serializer: str, into: Any) -> Decode:
    """Through msgspec if it knows all of the type but pydantic's models, else through pydantic."""
    into = Any if into is object else into
    make = msgspec.msgpack.Decoder if serializer == "msgpack" else msgspec.json.Decoder
    try:
        unknown = set(_unknown_types(msgspec.inspect.type_info(into), set()))
    except TypeError:  # such as a union of models
        unknown = {object}
    if all(issubclass(kind, BaseModel) for kind in unknown):
        return make(into, dec_hook=_decode_hook).decode
    plain, adapter = make(Any).decode, TypeAdapter[Any](into)
    return lambda payload: _validate(adapter, plain(payload))


def _unknown_types(node: Any, seen: set[int]) -> Iterator[type]:
    """The types within a type that msgspec leaves to a hook."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, msgspec.inspect.CustomType):
        yield node.cls
    elif isinstance(node, msgspec.inspect.Type | msgspec.inspect.Field):
        for name in node.__struct_fields__:
            yield from _unknown_types(getattr(node, name), seen)
    elif isinstance(node, tuple):
        for item in node:  # pyright: ignore[reportUnknownVariableType]
            yield from _unknown_types(item, seen)


def _decode_hook(kind: type, data: Any) -> Any:
    return _validate(_adapter(kind), data)


def _validate(adapter: TypeAdapter[Any], data: Any) -> Any:
    """Validate what `_encode_hook` made: fields go by their names, and dates and the like are texts."""
    return adapter.validate_python(data, strict=False, by_name=True, by_alias=True)


@lru_cache(maxsize=1024)
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
