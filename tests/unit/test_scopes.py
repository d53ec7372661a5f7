"""Scopes as log fields, and globs as Redis means them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core.errors import UsageError
from stoker.core.keys import glob_escape
from stoker.core.log.scopes import (
    Everything,
    Key,
    Pattern,
    Tag,
    Type,
    check_scope,
    compile_glob,
    describe_scope,
    narrowest,
    to_fields,
)


def test_scopes_become_fields_each_once() -> None:
    fields = to_fields(
        [
            Key("product", "1"),
            Tag("a"),
            Key("product", "1"),
            Type("page"),
            Pattern("page", "x*"),
            Everything(),
        ]
    )
    assert fields == [
        "key", "product:1", "tag", "a", "type", "page", "pattern", "page:x*", "everything", "1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "scope",
    [
        Key("Bad", "1"),
        Key("ok", ""),
        Key("ok", "x" * 513),
        Tag(""),
        Tag("x" * 256),
        Type("a:b"),
        Pattern("ok", ""),
        Pattern("ok", "x" * 513),
        Key("ok", 5),  # type: ignore[arg-type]
        Key("ok", b"5"),  # type: ignore[arg-type]
        Key("ok", "\ud800"),
        Key(5, "5"),  # type: ignore[arg-type]
        Tag(5),  # type: ignore[arg-type]
        Tag("\udfff"),
        Type(None),  # type: ignore[arg-type]
        Pattern("ok", b"*"),  # type: ignore[arg-type]
        Pattern("ok", "\ud800*"),
    ],
)
def test_what_cannot_be_written_is_refused(scope: object) -> None:
    with pytest.raises(UsageError):
        check_scope(scope)  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", [None, "product:1", Everything, [Tag("a")]])
def test_what_is_no_scope_is_told_what_one_is(scope: object) -> None:
    with pytest.raises(UsageError, match=r"is no scope: give Key\(type, key\), Tag"):
        check_scope(scope)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("glob", "matches", "differs"),
    [
        ("user:*", ["user:", "user:1", "user:1:2"], ["user", "xuser:1"]),
        ("a?c", ["abc", "a\nc"], ["ac", "abbc"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "x"]),
        ("[c-a]x", ["bx"], ["dx"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[abc", ["a"], ["d", "[abc"]),
        ("[]x", [], ["x", "]x"]),
        (r"a\*b", ["a*b"], ["axb"]),
        (r"a[\]]", ["a]"], ["a"]),
        ("*", ["", "anything"], []),
        ("*a*b*", ["ab", "xaxbx"], ["ba"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("*ab*ab", ["abab", "xabyab"], ["ab", "aba"]),
        ("", [""], ["a"]),
    ],
)
def test_globs(glob: str, matches: list[str], differs: list[str]) -> None:
    pattern = compile_glob(glob)
    assert [text for text in matches if not pattern.fullmatch(text)] == []
    assert [text for text in differs if pattern.fullmatch(text)] == []


@given(st.text(max_size=30))
def test_an_escaped_text_matches_itself_alone(text: str) -> None:
    pattern = compile_glob(glob_escape(text))
    assert pattern.fullmatch(text)
    assert not pattern.fullmatch(text + "x")


@given(st.text(alphabet="ab*?", max_size=10), st.text(alphabet="ab", max_size=10))
def test_globs_agree_with_the_definition(glob: str, text: str) -> None:
    def matches(glob: str, text: str) -> bool:
        if not glob:
            return not text
        if glob[0] == "*":
            return any(matches(glob[1:], text[at:]) for at in range(len(text) + 1))
        return bool(text) and glob[0] in {"?", text[0]} and matches(glob[1:], text[1:])

    assert bool(compile_glob(glob).fullmatch(text)) == matches(glob, text)


@pytest.mark.timeout(10)
def test_a_hostile_glob_takes_no_time() -> None:
    assert not compile_glob("*a" * 250 + "b").fullmatch("a" * 500)


def test_too_many_scopes_are_widened_never_dropped() -> None:
    keys = [Key("product", str(number)) for number in range(20)]
    assert narrowest([*keys, Tag("t")], limit=21) == [*keys, Tag("t")]
    assert narrowest([*keys, Tag("t")], limit=5) == [Type("product"), Tag("t")]
    assert narrowest([Tag(str(number)) for number in range(20)], limit=5) == [Everything()]


def test_scopes_for_people() -> None:
    assert describe_scope(Key("product", "1")) == "key product:1"
    assert describe_scope(Everything()) == "everything"
