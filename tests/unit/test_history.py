"""What a process knows of the log: right, and bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.core.log.history import History
from stoker.core.log.position import join_position

RECORDS = st.lists(
    st.sampled_from(
        [
            [b"key", b"product:1"],
            [b"key", b"product:2"],
            [b"tag", b"red"],
            [b"type", b"page"],
            [b"pattern", b"product:*"],
            [b"everything", b"1"],
            [b"_reason", b"nothing"],
            [b"tag", b"blue", b"key", b"page:x", b"_by", b"me"],
        ]
    ),
    max_size=12,
)


def names(fields: list[bytes], cache_type: str, key: str, tags: tuple[bytes, ...]) -> bool:
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if (
            (name == b"key" and value == f"{cache_type}:{key}".encode())
            or (name == b"tag" and value in tags)
            or (name == b"type" and value == cache_type.encode())
            or (name == b"pattern" and cache_type == "product")
            or name == b"everything"
        ):
            return True
    return False


@given(RECORDS, st.sampled_from(["product", "page"]), st.sampled_from(["1", "x"]), st.integers(0, 12))
def test_an_entry_is_dead_when_a_later_record_names_it(
    records: list[list[bytes]], cache_type: str, key: str, born: int
) -> None:
    history = History()
    for position, fields in enumerate(records, 1):
        history.add(position, fields)
    for tags in ((), (b"red",), (b"blue", b"green")):
        expected = any(names(f, cache_type, key, tags) for f in records[born:])
        assert bool(history.killer(cache_type, key, tags, born)) == expected


@given(RECORDS)
def test_reading_backwards_gives_the_same(records: list[list[bytes]]) -> None:
    forwards, backwards = History(), History()
    numbered = list(enumerate(records, 1))
    for position, fields in numbered:
        forwards.add(position, fields)
    for position, fields in reversed(numbered):
        backwards.add_older(position, fields)
    for born in range(len(records) + 1):
        for cache_type, key in (("product", "1"), ("page", "x")):
            for tags in ((), (b"red",)):
                assert forwards.killer(cache_type, key, tags, born) == backwards.killer(
                    cache_type, key, tags, born
                )


def test_a_field_of_an_unknown_kind_means_everything() -> None:
    history = History()
    history.add(5, [b"region", b"eu"])
    assert history.killer("product", "1", (), 4) == 5
    assert history.killer("product", "1", (), 5) == 0


def test_what_is_forgotten_raises_the_horizon() -> None:
    history = History(max_scopes=10)
    for position in range(1, 100):
        history.add(position, [b"key", b"product:%d" % position])
        assert history.scopes <= 20
    for position in range(1, 100):
        known = history.killer("product", str(position), (), position - 1) == position
        assert known or position <= history.horizon, "neither known nor below the horizon"
    assert 0 < history.horizon < 95


def test_copies_are_told_apart_from_entries() -> None:
    history = History()
    history.add(5, [b"copy", b"product:1"])
    assert history.copy_killer("product", "1", 4) == 5
    assert history.copy_killer("product", "1", 5) == 0
    assert history.copy_killer("product", "2", 0) == 0
    assert history.killer("product", "1", (), 0) == 0
    assert history.latest == 0, "no entry in Redis is touched"
    history.add(7, [b"copy", b"*:*"])
    assert history.copy_killer("product", "2", 6) == 7


def test_an_id_that_no_clock_shows_kills_all_that_was_born_before() -> None:
    history, position = History(), join_position(2**64 - 1, 5)
    history.add(position, [b"key", b"product:1"])
    assert history.killer("product", "2", (), position - 1) == position
    assert history.killer("product", "2", (), position) == 0
