"""The key of a request: what is nested counts by its fields, whatever its class has them encoded as."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest
from pydantic import BaseModel

from stoker.core import ChatMessage, GenerationRequest, UsageError, request_key
from stoker.core.keys import check_text, check_type_name
from stoker.core.responses.text_keys import text_key

MESSAGE = {"role": "user", "content": "Hello"}


class Camel(msgspec.Struct, rename="camel"):
    my_name: str


class Omitting(msgspec.Struct, omit_defaults=True):
    a: int | None = None
    b: bool = False


class Perhaps(msgspec.Struct):
    a: int
    b: int | msgspec.UnsetType = msgspec.UNSET


class Row(msgspec.Struct, array_like=True, frozen=True):
    a: int | msgspec.UnsetType = msgspec.UNSET
    b: int | msgspec.UnsetType = msgspec.UNSET


class Text(msgspec.Struct, tag="text"):
    value: str


class Image(msgspec.Struct, tag="image"):
    value: str


class Chat(msgspec.Struct, tag="chat", tag_field="kind"):
    messages: list[Any]
    model: str
    seed: int | msgspec.UnsetType = msgspec.UNSET


class Edit(msgspec.Struct, tag="edit", tag_field="kind"):
    messages: list[Any]
    model: str


@dataclass
class Part:
    _kind: str
    text: Any


class Pair(NamedTuple):
    one: Any
    other: Any


class Model(BaseModel):
    messages: list[Any]
    model: str | None = None
    extra: dict[str, Any] | None = None


@pytest.mark.parametrize("wrap", [dict, OrderedDict, MappingProxyType, lambda one: ChatMessage(**one)])
@pytest.mark.parametrize("further", [{}, {"name": None}, {"tool_calls": None, "tool_call_id": None}])
def test_messages_of_any_mapping_are_what_they_say(wrap: Any, further: dict[str, Any]) -> None:
    wrapped = wrap(MESSAGE | further)
    assert request_key({"messages": [wrapped]}) == request_key({"messages": [MESSAGE]})


def test_an_extra_that_is_none_is_not_there() -> None:
    assert (
        request_key(Model(messages=[])) == request_key(GenerationRequest([])) == request_key({"messages": []})
    )


@pytest.mark.parametrize(
    ("nested", "plain"),
    [
        (Camel("x"), {"my_name": "x"}),
        (Omitting(), {"a": None, "b": False}),
        (Perhaps(1), {"a": 1}),
        (Row(a=1), {"a": 1}),
        (Row(b=1), {"b": 1}),
        ({Row(b=1), Row(a=1)}, [{"a": 1}, {"b": 1}]),
        ({1, "a", (2, 3), None}, [1, [2, 3], "a", None]),
        (Part("a", Omitting(2)), {"_kind": "a", "text": {"a": 2, "b": False}}),
        (Model(messages=[Camel("x")]), {"messages": [{"my_name": "x"}], "model": None, "extra": None}),
        (Pair(Camel("x"), 1), [{"my_name": "x"}, 1]),
        (MappingProxyType({"a": Camel("x")}), {"a": {"my_name": "x"}}),
    ],
)
@pytest.mark.parametrize("within", ["a field", "a list", "a message", "a content", "an extra", "options"])
def test_what_is_nested_has_the_key_of_its_fields(nested: Any, plain: Any, within: str) -> None:
    def key(value: Any) -> str:
        match within:
            case "a field":
                return request_key({"x": value})
            case "a list":
                return request_key({"x": [(value,)]})
            case "a message":
                return request_key({"messages": [value]})
            case "a content":
                return request_key(GenerationRequest([ChatMessage("user", [value])]))
            case "an extra":
                return request_key(GenerationRequest([], extra={"tools": [value]}))
            case _:
                return text_key("text", "qa", {"x": value})

    assert key(nested) == key(plain)


def test_what_a_tag_tells_apart_has_keys_of_its_own() -> None:
    contents: list[list[Any]] = [
        [Text("a")],
        [Image("a")],
        [{"type": "text", "value": "b"}],
        [{"value": "a"}],
    ]
    keys = {request_key({"messages": [{"role": "user", "content": content}]}) for content in contents}
    assert len(keys) == 4
    assert request_key({"x": Text("a")}) == request_key({"x": {"type": "text", "value": "a"}})


def test_a_request_itself_is_told_apart_by_its_tag_and_says_nothing_by_what_is_unset() -> None:
    messages = [MESSAGE]
    fields = {"messages": messages, "model": "m"}
    keys = {request_key(request) for request in (Chat(messages, "m"), Edit(messages, "m"), fields)}
    assert len(keys) == 3
    assert request_key(Chat(messages, "m")) == request_key({"kind": "chat", **fields})
    assert request_key(Chat(messages, "m"), ignore=["kind"]) == request_key(fields)
    assert request_key(Chat(messages, "m", seed=1)) == request_key({"kind": "chat", "seed": 1, **fields})
    options = {text_key("text", "qa", options) for options in (Text("a"), Image("a"), {"value": "a"})}
    assert len(options) == 3
    assert text_key("text", "qa", Perhaps(1)) == text_key("text", "qa", {"a": 1})


def test_parts_whose_hidden_fields_differ_differ() -> None:
    assert request_key({"x": Part("a", "t")}) != request_key({"x": Part("b", "t")})


@pytest.mark.parametrize(
    "ignore", [("user", "stream"), ["user"], iter(["user"]), ("max_tokens",), ("model", "top_p")]
)
@pytest.mark.parametrize("temperature", [0.5, 1])
def test_ignored_fields_of_a_request_are_as_if_they_were_not_there(ignore: Any, temperature: float) -> None:
    """The quick way and the thorough one."""
    names = list(ignore)
    request = GenerationRequest([ChatMessage("user", "Hello")], temperature, 1.0, 100, "gpt-4o")
    fields: dict[str, Any] = msgspec.to_builtins(request)
    without = {name: value for name, value in fields.items() if name not in names}
    assert (
        request_key(request, ignore=iter(names)) == request_key(fields, ignore=names) == request_key(without)
    )


def test_what_is_too_deep_is_refused_by_name() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UsageError, match="field 'messages'"):
        request_key({"messages": [{"role": "user", "content": deep}]})


@pytest.mark.parametrize(
    "text", ["a secret " * 10_000 + "\ud800", b"a secret " * 10_000, ["a secret"] * 10_000]
)
def test_errors_tell_little_of_a_text(text: Any) -> None:
    with pytest.raises(UsageError) as caught:
        check_text("text", text)
    assert len(str(caught.value)) < 250


def test_errors_tell_little_of_prompts() -> None:
    secret = "a secret " * 10_000 + "\ud800"
    calls: list[Callable[[], object]] = [
        lambda: text_key(secret, "qa"),
        lambda: text_key("x", "qa", None, secret),
        lambda: check_type_name(secret[:-1]),
        lambda: request_key({"messages": []}, ignore=secret),
    ]
    for call in calls:
        with pytest.raises(UsageError) as caught:
            call()
        assert len(str(caught.value)) < 300
