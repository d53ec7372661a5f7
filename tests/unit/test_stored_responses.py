"""What is stored with a response: its metadata, its tags, its chunks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from stoker.core import (
    CacheConfig,
    ChatMessage,
    GenerationRequest,
    GenerationResponse,
    ResponseCache,
    Tag,
    UsageError,
)
from stoker.core.entries.codec import decode_value, encode_value
from stoker.core.entries.entry import Entry
from stoker.core.log.scopes import check_scope
from stoker.core.responses.stored import Stored, describe, join_texts, tag_of, tags_of, whole_content
from stoker.core.settings.policy import Policy

REQUEST = GenerationRequest([ChatMessage("user", "Hello")], model="asked")


@dataclass
class Answer:
    text: str
    provider: str = "own"
    request_id: Any = 5


class Reply(BaseModel):
    content: str
    request_id: UUID = UUID(int=7)
    model: str = "answered"


@pytest.mark.parametrize(
    ("response", "request_id", "provider", "model"),
    [
        (GenerationResponse("x", "r", "openai", "gpt"), "r", "openai", "gpt"),
        (GenerationResponse("x"), "", "", "asked"),
        (Answer("x"), "5", "own", "asked"),
        (Answer("x", request_id=True), "", "own", "asked"),
        (Answer("x", request_id=[1]), "", "own", "asked"),
        (Reply(content="x"), str(UUID(int=7)), "", "answered"),
        ({"request_id": "r", "provider_used": "openai"}, "r", "openai", "asked"),
        ({"provider": "openai"}, "", "openai", "asked"),
        (None, "", "", "asked"),
    ],
)
def test_metadata_is_what_the_response_says_of_itself(
    response: Any, request_id: str, provider: str, model: str
) -> None:
    began = datetime.now(UTC)
    found = describe(REQUEST, response, 60)

    assert (found.request_id, found.provider_used, found.model) == (request_id, provider, model)
    assert found.ttl_seconds == 60
    assert began <= found.cached_at <= datetime.now(UTC)
    assert found["request_id"] == found.get("request_id") == dict(found)["request_id"]


def test_what_the_caller_knows_fills_what_the_response_does_not_say() -> None:
    found = describe({"model": "asked"}, GenerationResponse("x"), 60, provider_used="openai", request_id="r")

    assert (found.request_id, found.provider_used, found.model) == ("r", "openai", "asked")


def test_tags_are_of_model_and_provider() -> None:
    metadata = describe(REQUEST, GenerationResponse("x", provider_used="openai"), 60)

    assert tags_of("llm_response", metadata) == ["llm_response:model:asked", "llm_response:provider:openai"]
    assert tags_of("llm_response", describe({}, GenerationResponse("x"), 60)) == []


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_makes_a_tag_and_different_names_different_ones(one: str, other: str) -> None:
    tags = [tag_of("llm_response", "model", name) for name in (one, other)]

    assert all(check_scope(Tag(tag)) for tag in tags)
    assert (tags[0] == tags[1]) is (one == other)


def through(stored: Any, into: Any) -> Any:
    flags, payload = encode_value(stored, Policy())
    return decode_value(Entry(1, 0, 0, 0, flags, (), payload), into, 2**24)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (GenerationResponse("x", extra={"a": 1}), GenerationResponse),
        (Answer("x"), Answer),
        (Reply(content="x"), Reply),
        ({"a": [1, None]}, dict[str, Any]),
        ("text", str),
        ([Answer("x")], list[Answer]),
    ],
)
def test_responses_come_back_with_their_metadata(response: Any, kind: Any) -> None:
    stored = Stored[Any, Any](describe(REQUEST, response, 60), response)

    assert through(stored, Stored[kind, str]) == stored


def test_chunks_come_back_as_what_they_were() -> None:
    stored = Stored[Any, Any](describe(REQUEST, None, 60), chunks=[Answer("a"), Answer("b")])

    found = through(stored, Stored[str, Answer])

    assert found.chunks == stored.chunks
    assert found.response is None


def test_an_entry_of_a_later_version_can_be_read() -> None:
    """Fields that are added later are passed over."""
    stored = msgspec.to_builtins(Stored[Any, Any](describe(REQUEST, None, 60), GenerationResponse("x")))
    stored["later"] = stored["metadata"]["later"] = stored["response"]["later"] = 1

    assert through(stored, Stored[GenerationResponse, str]).response == GenerationResponse("x")


def test_texts_are_joined_and_anything_else_is_told_of() -> None:
    metadata = describe(REQUEST, None, 60, provider_used="openai")

    assert join_texts(["a", "b"], metadata) == GenerationResponse("ab", "", "openai", "asked")
    assert join_texts([], metadata).content == ""
    with pytest.raises(UsageError, match="assemble="):
        join_texts(["a", 5], metadata)


def test_a_whole_response_is_one_chunk() -> None:
    assert whole_content(GenerationResponse("abc")) == ["abc"]
    assert whole_content({"content": "abc"}) == ["abc"]
    assert whole_content(Answer("abc")) == [Answer("abc")]


def test_responses_can_be_of_anything_that_is_stored() -> None:
    for kind in (GenerationResponse, Answer, Reply, dict, dict[str, Any], str, list[Answer]):
        assert ResponseCache(CacheConfig(), response_type=kind).cache_type == "llm_response"
