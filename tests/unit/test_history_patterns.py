"""Invalidations by pattern: what they name is dead, and nothing else for their number."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.core.keys import glob_escape
from stoker.core.log.history import History
from stoker.core.log.patterns import MAX_GLOBS, MAX_LENGTHS, MAX_TYPES
from stoker.core.log.scopes import compile_glob

TYPES = st.sampled_from(["page", "session"])
TEXTS = st.text(alphabet="ab:*[\\", max_size=5)
GLOBS = st.one_of(
    TEXTS.map(lambda text: glob_escape(text) + "*"),
    TEXTS.map(glob_escape),
    st.text(alphabet="ab:*?[]^-\\", min_size=1, max_size=6),
)


def note(history: History, position: int, pattern: str) -> None:
    history.add(position, [b"pattern", pattern.encode()])


@given(
    st.lists(st.builds("{}:{}".format, st.one_of(TYPES, st.just("*")), GLOBS), max_size=12),
    st.lists(st.tuples(TYPES, TEXTS), min_size=1, max_size=6),
    st.booleans(),
)
def test_an_entry_is_dead_when_a_later_pattern_matches_it_and_only_then(
    patterns: list[str], entries: list[tuple[str, str]], backwards: bool
) -> None:
    history, numbered = History(), list(enumerate(patterns, 1))
    for position, pattern in reversed(numbered) if backwards else numbered:
        history.add_older(position, [b"pattern", pattern.encode()])
    for cache_type, key in entries:
        matching = [
            at for at, text in numbered if compile_glob(text).fullmatch(f"{cache_type}:{key}") is not None
        ]
        for born in range(len(patterns) + 1):
            killer = history.killer(cache_type, key, (), born)
            assert bool(killer) == any(at > born for at in matching)
            assert not killer or killer in matching


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.booleans())
def test_however_many_there_are_none_is_lost(rng: random.Random, backwards: bool) -> None:
    """Over their bounds they kill more than they name, never less, and nothing of another type."""
    globs = [
        "k" * rng.randrange(2 * MAX_LENGTHS) + rng.choice(["*", "?x*", f"{n}*", f"*{n}"]) for n in range(400)
    ]
    history, numbered = History(), list(enumerate(globs, 1))
    for position, glob in reversed(numbered) if backwards else numbered:
        history.add_older(position, [b"pattern", f"page:{glob}".encode()])
    for _ in range(20):
        key, born = "k" * rng.randrange(2 * MAX_LENGTHS) + rng.choice(["", "yx", "7"]), rng.randrange(400)
        if any(at > born and compile_glob(glob).fullmatch(key) for at, glob in numbered):
            assert history.killer("page", key, (), born) > born
        assert history.killer("session", key, (), born) == 0


def test_any_number_of_beginnings_and_of_whole_keys_kill_what_they_name_alone() -> None:
    history = History()
    for number in range(10_000):
        note(history, 2 * number + 1, f"page:user:{number}:*")
        note(history, 2 * number + 2, rf"page:item\:{number}")
    assert history.killer("page", "user:17:x", (), 0) == 35
    assert history.killer("page", "user:17:x", (), 35) == 0
    assert history.killer("page", "item:17", (), 0) == 36
    for key in ("user:17", "user:10000:x", "item:17:x", "about", ""):
        assert history.killer("page", key, (), 0) == 0, key
    assert history.killer("session", "user:17:x", (), 0) == 0


def test_too_many_other_patterns_widen_to_their_own_type_as_of_the_oldest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = History()
    note(history, 1, "session:*x")
    for position in range(2, MAX_GLOBS + 12):
        note(history, position, f"page:*{position}")
    dropped = 11
    assert history.killer("page", "nothing like it", (), 0) == dropped
    assert history.killer("page", "nothing like it", (), dropped) == 0, "born after what was dropped"
    assert history.killer("page", "x20", (), dropped) == 20, "the newest are kept"
    assert history.killer("session", "s1", (), 0) == 0
    assert history.killer("session", "1x", (), 0) == 1
    told = [record for record in caplog.records if "action=patterns_widened type=page" in record.message]
    assert len(told) == 1


def test_beginnings_of_too_many_lengths_are_kept_as_other_patterns() -> None:
    history = History()
    for length in range(MAX_LENGTHS + MAX_GLOBS):
        note(history, length + 1, f"page:{'k' * length}-*")
    assert history.killer("page", "k" * 60 + "-x", (), 0) == 61
    assert history.killer("page", "k" * 160 + "-x", (), 0) == 161
    assert history.killer("page", "other", (), 0) == 0


@pytest.mark.parametrize("pattern", ["*:user", "pa*", "pag?:*", r"pa\ge:*", "[p]age:*", "*"])
def test_a_pattern_that_names_no_type_holds_for_all_that_it_matches(pattern: str) -> None:
    history = History()
    note(history, 1, pattern)
    assert history.killer("page", "user", (), 0) == 1
    assert bool(history.killer("session", "x", (), 0)) == (pattern == "*")
    for position in range(2, MAX_GLOBS + 2):
        note(history, position, f"*{position}")
    assert history.killer("session", "x", (), 0) == 1, "widened, for want of a type, to everything"
    assert history.killer("session", "x", (), 1) == 0


def test_patterns_of_types_that_nobody_has_take_no_more_than_their_room() -> None:
    history = History()
    note(history, 1, "page:a*b")
    for number in range(MAX_TYPES + 100):
        note(history, number + 2, f"type{number}:a*b")
    assert history.scopes <= MAX_TYPES + 101
    assert history.killer("page", "x", (), 0) == 0
    assert history.killer(f"type{MAX_TYPES + 50}", "x", (), 0) > 0, "widened"


def test_what_was_swept_is_forgotten() -> None:
    history = History()
    note(history, 1, "page:a*")
    note(history, 2, "page:b*c")
    note(history, 3, "page:bb*")
    history.forget(2)
    assert history.killer("page", "a", (), 2) == 0
    assert history.killer("page", "bbc", (), 2) == 3
    assert history.scopes == 1
    history.forget(3)
    assert history.scopes == 0
