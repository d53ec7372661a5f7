"""The log of a process without a server."""

from __future__ import annotations

from stoker.core import Everything, Key, Tag
from stoker.core.clock import boottime
from stoker.core.log.local_log import MAX_KEPT_FIELDS, LocalLog
from stoker.core.log.position import format_position, parse_position
from stoker.core.log.scopes import Copy


async def test_what_is_appended_is_known_at_once() -> None:
    log = LocalLog()
    born, version = log.seen, log.version
    receipt = await log.append([Key("product", "1"), Tag("red")], trace="abc")
    assert receipt.acknowledged
    position = parse_position(receipt.log_id or "")
    assert log.seen == log.known == position > born
    assert log.version != version
    assert log.killer("product", "1", (), born) == log.killer("page", "9", (b"red",), born) == position
    assert log.killer("product", "1", (), position) == log.killer("product", "2", (), born) == 0
    assert log.trace_of(position) == "abc"
    assert log.kept.empty


async def test_positions_grow_and_a_copy_is_no_entry() -> None:
    log = LocalLog()
    positions = [await log.tell(Copy("product", "1")) for _ in range(1_000)]
    assert positions == sorted(set(positions))
    assert log.copy_killer("product", "1", positions[-2]) == positions[-1]
    assert log.killer("product", "1", (), 0) == 0


async def test_it_is_always_known_and_never_old() -> None:
    log = LocalLog()
    assert log.epoch
    assert log.check().complete
    assert await log.catch_up()
    assert await log.read_back()
    log.lose()
    assert await log.resync()
    assert boottime() - log.proved <= 0
    await log.close()
    assert log.epoch


async def test_the_newest_records_can_be_read() -> None:
    log = LocalLog()
    since = log.seen
    await log.append([Key("product", "1")])
    await log.append([Tag(str(number)) for number in range(MAX_KEPT_FIELDS + 1)])
    records = await log.records(since, format_position(log.seen), 10)
    assert parse_position(records[0][0]) == since
    assert records[1][1] == [b"key", b"product:1"]
    assert records[2][1] == [b"everything", b"1"], "a long one is kept as what covers it"
    assert len(await log.records(since, format_position(log.seen), 2)) == 2


async def test_a_source_that_lags_settles_by_the_clock() -> None:
    log = LocalLog()
    await log.append([Everything()])
    assert await log.birth(0.0) == log.seen
    born = await log.birth(60.0)
    assert log.killer("product", "1", (), born)
