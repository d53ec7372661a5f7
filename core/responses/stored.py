"""A response as it is stored: with what is known of it, in one entry, so that the two can't part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar, cast
from uuid import UUID

import msgspec

from stoker.core.errors import UsageError
from stoker.core.log.scopes import MAX_TAG_BYTES
from stoker.core.responses.models import GenerationResponse, ResponseMetadata

R = TypeVar("R")
C = TypeVar("C")

Assemble: TypeAlias = Callable[[list[Any], ResponseMetadata], R]
"""Makes a response of all chunks of a stream."""

Split: TypeAlias = Callable[[R], Iterable[Any]]
"""Makes chunks of a response that came as a whole."""


#: A longer namespace is in tags by its digest, so that there is room for the rest.
_LONGEST_PLACE_BYTES = 100


class Stored(msgspec.Struct, Generic[R, C], frozen=True, omit_defaults=True):
    """A response that came as a whole, or the chunks of one that came as a stream; and its metadata."""

    metadata: ResponseMetadata
    response: R | None = None
    chunks: list[C] | None = None


def describe(request: Any, response: Any, ttl_seconds: float, **known: str) -> ResponseMetadata:
    """Return the metadata of a response: what it says of itself, else what is known beside it."""
    return ResponseMetadata(
        request_id=_said(response, "request_id") or known.get("request_id", ""),
        provider_used=_said(response, "provider_used")
        or _said(response, "provider")
        or known.get("provider_used", ""),
        model=_said(response, "model") or known.get("model", "") or _said(request, "model"),
        cached_at=datetime.now(UTC),
        ttl_seconds=ttl_seconds,
    )


def _said(source: Any, name: str) -> str:
    """A field of a response or request that is a name or an id, as text; empty where there is none."""
    return _text_of(_field(source, name))


def _text_of(value: Any) -> str:
    """A name or an id as plain text: of an enum's member its value, whatever the member is called."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value)
    return str.__str__(value) if isinstance(value, str) else ""


def _field(source: Any, name: str) -> Any:
    if isinstance(source, Mapping):
        return cast("Mapping[str, Any]", source).get(name)
    return getattr(source, name, None)


def place_of(cache_type: str, namespace: str) -> str:
    """Return what the tags of a cache begin with: those of another namespace are others."""
    if not namespace:
        return cache_type
    if len(name := namespace.encode("utf-8", "surrogatepass")) > _LONGEST_PLACE_BYTES:
        namespace = hashlib.sha256(name).hexdigest()
    return f"{cache_type}:{namespace}"


def tag_of(place: str, kind: str, name: str) -> str:
    """Return the tag of all responses of a model or provider: `llm_response:model:gpt-4o`.

    A name too long for a tag is there by its digest.

    Raises:
        UsageError: It is no name.
    """
    given, name = name, _text_of(name)
    if not name:
        raise UsageError(f"a {kind} is named by a text, not by {given!r:.80}")
    tag = f"{place}:{kind}:{name}"
    if len(tag.encode("utf-8", "surrogatepass")) <= MAX_TAG_BYTES and name.isprintable():
        return tag
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{place}:{kind}:sha256:{digest}"


def tags_of(place: str, metadata: ResponseMetadata, request: Any = None) -> list[str]:
    """Return the tags of a response: its model's, the asked one's where it differs, and its provider's."""
    models = dict.fromkeys((metadata.model, _said(request, "model")))
    named = [*(("model", model) for model in models), ("provider", metadata.provider_used)]
    return [tag_of(place, kind, name) for kind, name in named if name]


def join_texts(chunks: list[Any], metadata: ResponseMetadata) -> GenerationResponse:
    """Make a response of the texts that came as a stream.

    Raises:
        UsageError: They are no texts.
    """
    try:
        content = "".join(chunks)
    except TypeError:
        raise UsageError(
            "the chunks of this stream are no texts: give the ResponseCache assemble=…, which makes a "
            "response of them"
        ) from None
    return GenerationResponse(
        content,
        request_id=metadata.request_id,
        provider_used=metadata.provider_used,
        model=metadata.model,
    )


def whole_content(response: Any) -> list[Any]:
    """Make the one chunk of a response that came as a whole: its content, or else itself."""
    content = _field(response, "content")
    return [content if isinstance(content, str) else response]
