"""The key of a request: equal requests have one, different ones never do, whatever objects they are."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from stoker.core import ChatMessage, GenerationRequest, UsageError, request_key

MESSAGES = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi! ☀")]

#: Keys are the same in every process, Python and version: this one has been since they are there.
GOLDEN = "951fae38e3273542b5c339ced839216dc1466ffe4ee303a8d404b49b13c07398"


@dataclass
class OwnMessage:
    role: str
    content: str


@dataclass
class OwnRequest:
    messages: list[OwnMessage]
    temperature: float
    top_p: float
    max_tokens: int | None


@dataclass
class FullMessage:
    role: str
    content: str
    name: str | None = None
    tool_calls: list[Any] | None = None


class ModelMessage(BaseModel):
    role: str
    content: str


class ModelRequest(BaseModel):
    model_config = ConfigDict(extra="allow")

    messages: list[ModelMessage]
    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int | None = None


class StructRequest(msgspec.Struct):
    messages: tuple[dict[str, str], ...]
    temperature: float
    top_p: float
    max_tokens: int | None = None
    model: str | None = None


class Seeded(GenerationRequest, omit_defaults=True):
    seed: int | None = None


class Role(StrEnum):
    USER = "user"


class Text(str):
    __slots__ = ()


def chat(**changes: Any) -> GenerationRequest:
    fields: dict[str, Any] = {
        "messages": [ChatMessage(*message) for message in MESSAGES],
        "temperature": 0.7,
        "top_p": 1.0,
    }
    return GenerationRequest(**(fields | changes))


def plain(**changes: Any) -> dict[str, Any]:
    messages = [{"role": role, "content": content} for role, content in MESSAGES]
    return {"messages": messages, "temperature": 0.7, "top_p": 1.0} | changes


SHAPES: dict[str, Any] = {
    "a dataclass": OwnRequest([OwnMessage(*message) for message in MESSAGES], 0.7, 1.0, None),
    "a model": ModelRequest(messages=[ModelMessage(role=role, content=text) for role, text in MESSAGES]),
    "a Struct": StructRequest(tuple({"role": role, "content": text} for role, text in MESSAGES), 0.7, 1.0),
    "a dict": plain(),
    "another order": dict(reversed(plain().items())),
    "a mapping": MappingProxyType(plain()),
    "all fields": plain(max_tokens=None, model=None, extra={}),
    "objects in a dict": plain(messages=[OwnMessage(*message) for message in MESSAGES]),
    "fields without values": plain(messages=[FullMessage(*message) for message in MESSAGES]),
    "derived texts": plain(messages=[{"role": Text(role), "content": Text(text)} for role, text in MESSAGES]),
    "as built in": msgspec.to_builtins(chat()),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_requests_of_the_same_shape_share_a_key(shape: str) -> None:
    assert request_key(SHAPES[shape]) == request_key(chat())


def test_a_key_is_a_sha256_of_the_request() -> None:
    key = request_key(chat())

    assert len(key) == 64
    assert key == hashlib.sha256(msgspec.msgpack.Encoder(order="sorted").encode(plain())).hexdigest()


DIFFERENT: dict[str, Any] = {
    "as it is": chat(),
    "temperature": chat(temperature=0.8),
    "temperature 0": chat(temperature=0.0),
    "no temperature": chat(temperature=None),
    "top_p": chat(top_p=0.9),
    "max_tokens": chat(max_tokens=1000),
    "max_tokens 0": chat(max_tokens=0),
    "max_tokens as a text": plain(max_tokens="1000"),
    "model": chat(model="gpt-4o"),
    "no model, an empty one": chat(model=""),
    "seed 1": chat(extra={"seed": 1}),
    "seed 1.0": chat(extra={"seed": 1.0}),
    "seed True": chat(extra={"seed": True}),
    "seed '1'": chat(extra={"seed": "1"}),
    "seed None": chat(extra={"seed": None}),
    "seed ''": chat(extra={"seed": ""}),
    "seed -1": chat(extra={"seed": -1}),
    "seed b'1'": chat(extra={"seed": b"1"}),
    "stop": chat(extra={"stop": ["a", "b"]}),
    "stop, another order": chat(extra={"stop": ["b", "a"]}),
    "stop in one": chat(extra={"stop": ["a,b"]}),
    "no messages": chat(messages=[]),
    "one message less": chat(messages=[ChatMessage(*message) for message in MESSAGES[:2]]),
    "another order": chat(messages=[ChatMessage(*message) for message in reversed(MESSAGES)]),
    "another role": chat(messages=[ChatMessage("user", "Hello")]),
    "role in the text": chat(messages=[ChatMessage("", "userHello")]),
    "no content": chat(messages=[ChatMessage("user", None)]),
    "empty content": chat(messages=[ChatMessage("user", "")]),
    "a name": chat(messages=[ChatMessage("user", "Hello", name="Ann")]),
    "parts": chat(messages=[ChatMessage("user", [{"type": "text", "text": "Hello"}])]),
    "two parts": chat(
        messages=[ChatMessage("user", [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}])]
    ),
}


def test_different_requests_never_share_a_key() -> None:
    keys = {name: request_key(request) for name, request in DIFFERENT.items()}

    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (chat(temperature=1), chat(temperature=1.0)),
        (chat(top_p=1), chat(top_p=1.0)),
        (chat(temperature=-0.0), chat(temperature=0.0)),
        (chat(temperature=0), chat(temperature=0.0)),
        (chat(temperature=Decimal("0.7")), chat(temperature=0.7)),
        (chat(max_tokens=1000.0), chat(max_tokens=1000)),
        (chat(extra={"seed": 1, "user": "x"}), plain(user="x", seed=1)),
        (chat(extra={"seed": 1}), plain(extra={"seed": 1})),
        (Seeded([], seed=1), GenerationRequest([], extra={"seed": 1})),
        (chat(messages=tuple(chat().messages)), chat()),
        (plain(messages=[{"role": Role.USER, "content": "a"}]), chat(messages=[ChatMessage("user", "a")])),
        (chat(extra={"t": [{"b": 1, "a": {"y": 1, "x": 2}}]}), plain(t=[{"a": {"x": 2, "y": 1}, "b": 1}])),
        ({"prompt": "a", "n": 1}, {"n": 1, "prompt": "a"}),
    ],
)  # fmt: skip
def test_equal_requests_share_a_key(one: Any, other: Any) -> None:
    assert request_key(one) == request_key(other)


def test_what_is_declared_ignored_does_not_count() -> None:
    one, other = plain(user="ann", stream=True), plain(user="bob")

    assert request_key(one) != request_key(other)
    assert request_key(one, ignore=("user", "stream")) == request_key(other, ignore=["user", "stream"])
    assert request_key(chat(extra={"user": "ann"}), ignore=["user"]) == request_key(chat())
    assert request_key(chat(model="a"), ignore=["model"]) == request_key(chat(model="b"), ignore=["model"])
    assert request_key(chat(), ignore=["no such field"]) == request_key(chat())


class Stranger:
    """A class of which nobody knows what it holds."""


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Stranger(), "a Stranger is no request"),
        ("Hello", "a str is no request"),
        (None, "a NoneType is no request"),
        (OwnRequest, "a type is no request"),
        ({}, "says nothing"),
        ({"model": None}, "says nothing"),
        (plain(tools=[Stranger()]), "field 'tools' of the request can't be part of a key"),
        (chat(extra={"tools": Stranger()}), "field 'tools' of the request"),
        (chat(messages=[ChatMessage("user", "\ud800")]), "field 'messages' of the request"),
        (chat(extra={"seed": 2**70}), "field 'seed' of the request"),
        (chat(extra={"bias": {1: 2}}), "field 'bias' of the request"),
        (chat(extra={"temperature": 1}), "'temperature' twice"),
        (chat(temperature=10**400), "'temperature' of the request is no number"),
    ],
)
def test_what_cannot_be_keyed_is_refused_by_name(request_: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        request_key(request_)


def test_what_holds_itself_is_refused() -> None:
    tools: list[Any] = []
    tools.append(tools)

    with pytest.raises(UsageError, match="'tools'"):
        request_key(plain(tools=tools))


def test_ignored_fields_are_several() -> None:
    with pytest.raises(UsageError, match=r"write \['user'\]"):
        request_key(chat(), ignore="user")


def test_keys_are_the_same_in_every_process() -> None:
    code = (
        "from stoker.core import ChatMessage as M, GenerationRequest as R, request_key\n"
        "further = {'b': {1, 2, 3}, 'a': [{'y': 1, 'x': 2}]}\n"
        "print(request_key(R([M('user', 'Hello')], 0.7, 1.0, 1000, 'gpt-4o', further)))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    }

    assert keys == {GOLDEN}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=8)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
fields_ = st.dictionaries(st.sampled_from("abcdef"), json_values, min_size=1, max_size=4)


def spelled(value: Any) -> str:
    """A text that is the same only for the same value of the same types; dicts in any order."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{key!r}:{spelled(part)}" for key, part in value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    return f"{type(value).__name__} {value!r}"


@given(fields_, fields_)
def test_keys_are_equal_just_where_requests_are(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = spelled(one) == spelled(other)

    assert (request_key(one) == request_key(other)) is same
    assert request_key(GenerationRequest([], extra=one)) == request_key({"messages": [], **one})


@given(
    st.lists(st.builds(ChatMessage, st.text(max_size=5), st.text(max_size=20) | st.none()), max_size=3),
    st.none() | st.floats(0, 2) | st.integers(0, 2),
    st.none() | st.integers(0, 10_000),
    st.none() | st.text(max_size=5),
)
def test_the_fast_way_and_the_thorough_one_agree(
    messages: list[ChatMessage], temperature: float | None, limit: int | None, model: str | None
) -> None:
    request = GenerationRequest(messages, temperature, None, limit, model)
    same: dict[str, Any] = {
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "max_tokens": limit,
        "temperature": temperature,
        "model": model,
    }

    assert request_key(request) == request_key(same)


@dataclass
class Unhashable:
    """A request of the caller's whose fields hold what can't be hashed."""

    prompts: list[str] = field(default_factory=list[str])


def test_requests_need_no_messages() -> None:
    assert request_key(Unhashable(["a"])) == request_key({"prompts": ["a"]})
    assert request_key(Unhashable(["a"])) != request_key(Unhashable(["b"]))
