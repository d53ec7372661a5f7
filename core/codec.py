"""Values to payloads and back: MessagePack or JSON through msgspec, compressed above a threshold."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import msgspec
import zstandard
from pydantic import BaseModel, TypeAdapter

from stoker.core.entry import Entry, make_flags
from stoker.core.errors import EntryError
from stoker.core.policy import Policy

#: Levels that cost microseconds a kilobyte (docs/benchmarks.md).
ZSTD_LEVEL = 3
ZLIB_LEVEL = 1


class UnstorableError(Exception):
    """The value can't be stored: of a type no serializer knows, or too large."""


def _encode_hook(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"no serializer for {type(value).__name__}")


_MSGPACK = msgspec.msgpack.Encoder(enc_hook=_encode_hook)
_JSON = msgspec.json.Encoder(enc_hook=_encode_hook)


def encode_value(value: Any, policy: Policy) -> tuple[int, bytes]:
    """Return (header flags, payload) of a value under a policy.

    Raises:
        UnstorableError: No serializer knows the value's type, or it is larger than the policy's `max_entry`.
    """
    if value is None:
        return make_flags(policy.serializer, "none", is_none=True), b""
    try:
        payload = (_MSGPACK if policy.serializer == "msgpack" else _JSON).encode(value)
    except (NotImplementedError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnstorableError(f"{type(value).__name__} can't be stored: {error}") from None
    if len(payload) > policy.max_entry:
        raise UnstorableError(
            f"{len(payload)} bytes are more than the type's max_entry of {policy.max_entry}"
        )
    compression = policy.compression
    if compression != "none" and len(payload) > policy.compress_above:
        smaller = _compress(payload, compression)
        if len(smaller) < len(payload):
            return make_flags(policy.serializer, compression, is_none=False), smaller
    return make_flags(policy.serializer, "none", is_none=False), payload


def decode_value(entry: Entry, into: Any, max_bytes: int) -> Any:
    """Return the value of an entry, as `into` (a type, or `Any`) where one is asked for.

    Raises:
        EntryError: The payload is damaged, larger than `max_bytes`, or not of the type.
    """
    if entry.is_none:
        return None
    payload = _expand(entry.payload, entry.compression, max_bytes)
    if _is_pydantic(into):
        return _decode_pydantic(payload, entry.serializer, into)
    try:
        return _decoder(entry.serializer, into).decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EntryError(f"the payload can't be decoded: {error}") from None


def _is_pydantic(into: Any) -> bool:
    return isinstance(into, type) and issubclass(into, BaseModel)


def _decode_pydantic(payload: bytes, serializer: str, into: Any) -> Any:
    try:
        return _adapter(into).validate_python(_decoder(serializer, Any).decode(payload))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EntryError(f"the payload can't be decoded: {error}") from None


@lru_cache(maxsize=1024)
def _decoder(serializer: str, into: Any) -> msgspec.msgpack.Decoder[Any] | msgspec.json.Decoder[Any]:
    if serializer == "msgpack":
        return msgspec.msgpack.Decoder(into)
    return msgspec.json.Decoder(into)


@lru_cache(maxsize=1024)
def _adapter(into: Any) -> TypeAdapter[Any]:
    return TypeAdapter(into)


def _compress(payload: bytes, compression: str) -> bytes:
    if compression == "zstd":
        return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(payload)
    return zlib.compress(payload, ZLIB_LEVEL)


def _expand(payload: bytes, compression: str, max_bytes: int) -> bytes:
    """Decompress; the size is judged before memory is taken for it."""
    if compression == "none":
        return payload
    try:
        if compression == "zstd":
            size = zstandard.frame_content_size(payload)
            if not 0 <= size <= max_bytes:
                raise EntryError(f"decompresses to {size} bytes, more than {max_bytes}")
            return zstandard.ZstdDecompressor().decompress(payload, max_output_size=max_bytes)
        expander = zlib.decompressobj()
        expanded = expander.decompress(payload, max_bytes + 1)
    except (zstandard.ZstdError, zlib.error) as error:
        raise EntryError(f"the payload can't be decompressed: {error}") from None
    if len(expanded) > max_bytes or not expander.eof:
        raise EntryError(f"cut off, or decompresses to more than {max_bytes} bytes")
    return expanded
