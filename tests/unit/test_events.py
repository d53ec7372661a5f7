"""Events as other services write them: read with care, refused with a reason."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import EventError, UsageError
from stoker.core.events import MAX_EVENT_BYTES, make_event, parse_event
from stoker.core.log.scopes import Everything, Key, Pattern, Scope, Tag, Type

SCOPES: list[Scope] = [
    Key("product", "42"),
    Tag("category:5"),
    Type("page"),
    Pattern("product", "4*"),
    Everything(),
]


def as_json(**event: Any) -> bytes:
    return json.dumps(event).encode()


def test_an_event_in_all_its_forms() -> None:
    event = parse_event(
        as_json(
            id="order-17",
            scopes=[
                {"type": "product", "key": "42"},
                {"tag": "category:5"},
                {"type": "page"},
                {"type": "product", "pattern": "4*"},
                {"everything": True},
            ],
            source="shop",
            reason="price changed",
        )
    )
    assert list(event.scopes) == SCOPES
    assert (event.id, event.source, event.reason) == ("order-17", "shop", "price changed")


def test_a_key_may_be_a_number_as_many_services_write_it() -> None:
    assert parse_event(as_json(scopes=[{"type": "product", "key": 42}])).scopes == (Key("product", "42"),)


def test_what_is_packed_is_parsed() -> None:
    event = make_event(*SCOPES, source="shop", reason="because")
    assert parse_event(event.pack()) == event


def test_an_event_without_an_id_gets_its_place_on_the_stream() -> None:
    assert parse_event(as_json(scopes=[{"tag": "a"}]), fallback_id="5-0").id == "5-0"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "no event"),
        (b"{", "no event"),
        (b"[]", "no event"),
        (b"\xff\xfe", "no event"),
        (as_json(), "scopes"),
        (as_json(scopes=[]), "names 1 to"),
        (as_json(scopes="product"), "scopes"),
        (as_json(scopes=[{}]), r"scopes\[0\]: nothing names no scope"),
        (as_json(scopes=[{"tag": "a"}, {"key": "42"}]), r"scopes\[1\]: \['key'\] names no scope"),
        (as_json(scopes=[{"type": "Bad Type"}]), r"scopes\[0\].*can't name a cache type"),
        (as_json(scopes=[{"type": "product", "key": ""}]), r"scopes\[0\].*a key has"),
        (as_json(scopes=[{"everything": False}]), r"scopes\[0\]"),
        (as_json(scopes=[{"tag": "a", "colour": 1}]), "colour"),
        (as_json(scopes=[{"tag": "a"}], id="a,b"), "id: no commas"),
        (as_json(scopes=[{"tag": "a"}], id="x" * 201), "id: 1 to"),
        (as_json(scopes=[{"tag": "a"}], urgent=True), "urgent"),
        (as_json(scopes=[{"tag": "a"}] * 1001), "names 1 to"),
        (b'{"scopes": [{"tag": "a", "tag": "b"}]}', "tag: given twice"),
        (b'{"scopes": [{"tag": "a"}], "scopes": [{"tag": "b"}]}', "scopes: given twice"),
        (b'{"scopes": [{"tag": "a", "\\u0074ag": "b"}]}', "tag: given twice"),
        (b" " * (MAX_EVENT_BYTES + 1), "more than an event may have"),
        (b"[" * 60_000, "no event"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, says: str) -> None:
    with pytest.raises(EventError, match=says):
        parse_event(raw)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"event_id": "a,b"}, "id: no commas"),
        ({"event_id": "a\nb"}, "id: no commas"),
        ({"event_id": ""}, "id: 1 to"),
        ({"event_id": 5}, "id is a str"),
        ({"source": "x" * 5_000}, "source: 1 to"),
        ({"source": "\ud800"}, "source can't hold half a surrogate"),
        ({"reason": ""}, "reason: 1 to"),
        ({"reason": "\udfff"}, "reason can't hold half a surrogate"),
    ],
)
def test_what_a_consumer_would_refuse_is_refused_when_it_is_made(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_event(Tag("a"), **given)


def test_what_is_too_large_or_names_nothing_is_refused_when_it_is_made() -> None:
    with pytest.raises(UsageError, match="more than an event may have"):
        make_event(*(Key("product", f"{number}" * 120) for number in range(100, 300)))
    with pytest.raises(UsageError, match="names 1 to"):
        make_event()
    with pytest.raises(UsageError, match="'x' is no scope: give Key"):
        make_event("x")  # type: ignore[arg-type]


@given(st.text(max_size=210), st.text(max_size=210))
def test_what_is_made_is_accepted(event_id: str, reason: str) -> None:
    with contextlib.suppress(UsageError):
        event = make_event(Tag("a"), event_id=event_id, reason=reason)
        assert parse_event(event.pack()) == event


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_an_event_error(raw: bytes) -> None:
    with contextlib.suppress(EventError):
        parse_event(raw)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["id", "scopes", "type", "key", "tag", "pattern", "everything"])
    return st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), containers, max_leaves=12
)


@given(json_values)
def test_any_json_is_an_event_or_an_event_error(value: Any) -> None:
    with contextlib.suppress(EventError):
        parse_event(json.dumps(value).encode())
