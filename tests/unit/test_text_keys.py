"""Keys of texts by operation and options: readable or hashed, and never shared by two texts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core import UsageError
from stoker.core.keys import check_key
from stoker.core.responses.text_keys import STEP, text_key


def test_short_texts_can_be_read_in_their_keys() -> None:
    key = text_key("A short text: with colons, 'quotes' and ☀.", "summarize", {"max_length": 100})

    assert key.startswith("summarize:")
    assert key.endswith(":A short text: with colons, 'quotes' and ☀.")
    assert check_key(key) == key


def test_long_texts_are_hashed() -> None:
    text = "words and words " * 100

    key = text_key(text, "summarize", None)

    assert "words" not in key
    assert key.endswith(f"#1600:{hashlib.sha256(text.encode()).hexdigest()}")
    assert len(key) < 150


@pytest.mark.parametrize(("length", "readable"), [(0, True), (20, True), (21, False), (5000, False)])
def test_the_threshold_decides(length: int, readable: bool) -> None:
    text = "x" * length

    assert text_key(text, "qa", threshold=20).endswith(f":{text}") is readable


def test_what_does_not_fit_into_a_key_is_hashed_below_the_threshold_too() -> None:
    for length in range(400, 520):
        assert len(check_key(text_key("x" * length, "summarize", {"a": 1}, threshold=1000))) <= 512
    assert "#" in text_key("x" * 500, "summarize", threshold=1000).partition(":")[2]
    assert "#" in text_key("x" * 100, "summarize", room=100)


def test_a_threshold_of_nothing_hashes_every_text() -> None:
    assert "secret" not in text_key("secret", "qa", threshold=0)


@pytest.mark.parametrize("length", [STEP - 1, STEP, STEP + 1, 3 * STEP + 7])
def test_texts_that_are_hashed_in_steps_have_the_hash_of_the_whole(length: int) -> None:
    text = ("häß☀𝄞" * (length // 5 + 1))[:length]

    assert text_key(text, "qa").endswith(hashlib.sha256(text.encode()).hexdigest())


def test_everything_counts() -> None:
    keys = [
        text_key("a", "qa"),
        text_key("b", "qa"),
        text_key("", "qa"),
        text_key("a", "summarize"),
        text_key("a", "qa", {"n": 1}),
        text_key("a", "qa", {"n": 1.0}),
        text_key("a", "qa", {"n": True}),
        text_key("a", "qa", {"n": "1"}),
        text_key("a", "qa", {"n": None}),
        text_key("a", "qa", {"m": 1}),
        text_key("a", "qa", {"n": [1, 2]}),
        text_key("a", "qa", {"n": [2, 1]}),
        text_key("a", "qa", {"question": "why?"}),
        text_key("a", "qa", None, "why?"),
        text_key("a", "qa", None, ""),
        text_key("a", "qa", None, "why? "),
        text_key("a" * 2000, "qa"),
        text_key("a" * 2001, "qa"),
        text_key("a" * 1999 + "b", "qa"),
    ]

    assert len(set(keys)) == len(keys)


@dataclass
class Options:
    max_length: int
    model: str


def test_equal_options_are_equal_whatever_they_are_and_in_any_order() -> None:
    key = text_key("a", "qa", {"max_length": 100, "model": "gpt-4"})

    assert text_key("a", "qa", {"model": "gpt-4", "max_length": 100}) == key
    assert text_key("a", "qa", Options(100, "gpt-4")) == key
    assert text_key("a", "qa", {}) == text_key("a", "qa", None) == text_key("a", "qa")


hostile = st.text(alphabet="ab:#|=\n0", max_size=12)


@given(st.tuples(hostile, st.none() | hostile), st.tuples(hostile, st.none() | hostile), st.integers(0, 12))
def test_separators_within_texts_confuse_nothing(
    one: tuple[str, str | None], other: tuple[str, str | None], threshold: int
) -> None:
    keys = [text_key(text, "qa", None, asked, threshold=threshold) for text, asked in (one, other)]

    assert (keys[0] == keys[1]) is (one == other)


def test_a_text_that_looks_like_a_hashed_one_is_another() -> None:
    long = "x" * 600
    hashed = text_key(long, "qa")
    begin, _, _ = hashed.partition("#")

    for text in (hashed, hashed.removeprefix(begin), hashed.removeprefix(begin + "#")):
        assert text_key(text, "qa") != hashed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a", "two words"), "operation is a name"),
        (("a", "a:b"), "operation is a name"),
        (("a", ""), "operation is a name"),
        (("a", "x" * 65), "operation is a name"),
        (("a", None), "operation is a name"),
        ((b"a", "qa"), "text is a str, not bytes"),
        ((None, "qa"), "text is a str, not NoneType"),
        (("\ud800", "qa"), "text can't hold half a surrogate pair"),
        (("\ud800" * 2000, "qa"), "text can't hold half a surrogate pair"),
        (("a", "qa", "fast"), "options are a dict"),
        (("a", "qa", {"tool": object()}), "field 'tool' of the options"),
        (("a", "qa", None, 5), "question is a str"),
        (("a", "qa", None, "\udfff"), "question can't hold half"),
    ],
)
def test_what_cannot_be_keyed_is_refused_by_name(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        text_key(*arguments)


def test_keys_are_the_same_in_every_process() -> None:
    code = (
        "from stoker.core.responses.text_keys import text_key\n"
        "print(text_key('Hello', 'qa', {'b': {3, 1, 2}, 'a': 1.5}, 'why?'))"
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

    assert keys == {"qa:e4d6c449eb910bd6bd93b03f8485ced2:Hello"}
