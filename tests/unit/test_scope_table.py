"""The table from scopes to positions: never too little, seldom too much, bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.core.log.position import join_position
from stoker.core.log.table import ScopeTable

SCOPES = st.integers(-(2**63), 2**63 - 1)
POSITIONS = st.builds(
    join_position, st.integers(0, 2**43), st.one_of(st.integers(0, 5), st.integers(2**20 - 2, 2**64 - 1))
)


def positions(count: int) -> list[int]:
    return [join_position(1_763_696_000_000 + number // 7, number % 7) for number in range(count)]


@given(st.lists(st.tuples(SCOPES, POSITIONS), max_size=60))
def test_a_scope_has_the_greatest_position_that_was_noted_or_a_little_more(
    noted: list[tuple[int, int]],
) -> None:
    table = ScopeTable()
    expected: dict[int, int] = {}
    for scope, position in noted:
        table.note(scope, position)
        expected[scope] = max(expected.get(scope, 0), position)
    for scope, position in expected.items():
        found = table.last(scope)
        assert found >= position
        if position & (2**64 - 1) < 2**20 and len(expected) == 1:
            assert found == position


def test_many_scopes_keep_their_own_positions() -> None:
    table, scopes = ScopeTable(), [hash((b"key", b"%d" % number)) for number in range(20_000)]
    for scope, position in zip(scopes, positions(20_000), strict=True):
        table.note(scope, position)
    found = [table.last(scope) for scope in scopes]
    assert sum(a != b for a, b in zip(found, positions(20_000), strict=True)) <= 2, "collisions are rare"
    assert all(a >= b for a, b in zip(found, positions(20_000), strict=True))
    strangers = [hash((b"key", b"x%d" % number)) for number in range(20_000)]
    assert sum(table.last(scope) != 0 for scope in strangers) <= 2


def test_what_is_forgotten_gives_its_room_back_and_no_more_than_that_is() -> None:
    table, places = ScopeTable(), positions(20_000)
    scopes = [hash((b"tag", b"%d" % number)) for number in range(20_000)]
    for scope, position in zip(scopes, places, strict=True):
        table.note(scope, position)
    table.forget(places[9_999])
    for number in range(300):  # it is cleaned while others come
        table.note(hash((b"late", number)), places[-1] + number)
    assert len(table) < 10_400
    assert all(table.last(scope) for scope in scopes[10_000:])


def test_a_table_over_its_bound_forgets_its_oldest_and_says_up_to_where() -> None:
    table, places = ScopeTable(bound=10_000), positions(40_000)
    known_from = 0
    for number, position in enumerate(places):
        table.note(hash((b"key", number)), position)
        if table.full:
            known_from = max(known_from, table.shrink())
        assert len(table) <= 10_300
    assert 0 < known_from < places[-5_000]
    for number, position in enumerate(places):
        assert position <= known_from or table.last(hash((b"key", number))) >= position


def test_a_scope_takes_few_bytes_however_long_its_name() -> None:
    table = ScopeTable()
    for number in range(50_000):
        table.note(hash((b"key", b"%0200d" % number)), join_position(1_763_696_000_000, number))
    size = sum(tags.itemsize * len(tags) + at.itemsize * len(at) for tags, at, _ in table._parts)
    assert size / 50_000 < 40
