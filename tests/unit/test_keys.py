"""What is refused as a key, a tag, a type or a namespace, and how little of it the message shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager, MemoryCache, UsageError
from stoker.core.entries.entry import encode_tags
from stoker.core.keys import SHOWN_CHARACTERS, check_key, check_text, check_type_name, shown

PROMPT = "Dear model, my password is " + "x" * 90 + " hunter2"


class Told:
    """Says the whole prompt of itself."""

    def __repr__(self) -> str:
        return PROMPT


@pytest.mark.parametrize(
    "call",
    [
        lambda: check_text("a key", [PROMPT]),
        lambda: check_text("a key", {"prompt": PROMPT}),
        lambda: check_text("a key", Told()),
        lambda: check_text("a key", PROMPT.encode()),
        lambda: check_text("a key", f"{PROMPT}\ud800"),
        lambda: check_key(PROMPT * 10),
        lambda: check_key(Told()),  # type: ignore[arg-type]
        lambda: check_type_name(PROMPT),
        lambda: encode_tags(PROMPT),
        lambda: encode_tags([Told()]),  # type: ignore[list-item]
        lambda: CacheConfig().policy(PROMPT),
        lambda: CacheManager(CacheConfig()).cache("session", namespace=f"{PROMPT}:"),
        lambda: MemoryCache(cache_type=PROMPT),
    ],
)
def test_a_message_shows_the_beginning_of_what_was_given_at_most(call: Callable[[], Any]) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert "hunter2" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_short_texts_are_shown_whole() -> None:
    assert shown("user:1") == "'user:1'"
    assert shown(5) == "5"
    assert shown("x" * 200) == f"'{'x' * (SHOWN_CHARACTERS - 1)}…"
    with pytest.raises(UsageError, match=r"a key is a str, not int: write str\(5\)"):
        check_key(5)  # type: ignore[arg-type]
