"""Events that were removed before they were read: nobody knows what they named, so everything goes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.consumers import consuming, pending, publish, records, subscribe
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually


async def test_events_that_were_removed_before_they_were_applied_invalidate_everything(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    at = subscribe(redis_server, prefix)
    client.xgroup_create(at.stream, at.group, id="0", mkstream=True)
    removed = publish(client, prefix, "gone")
    client.xreadgroup(at.group, at.name, {at.stream: ">"})
    client.xdel(at.stream, removed)
    async with make_manager(redis_server, prefix, product={}) as manager:
        await manager.set("product", "1", "old")
        async with consuming(manager, at) as consumer:
            await eventually(lambda: consumer.health.lost == 1, "noticed")
            assert await manager.get("product", "1") is None
    (record,) = records(client, prefix)
    assert record[b"everything"] == b"1"
    assert record[b"_reason"] == b"events were removed unread"
    assert pending(client, prefix) == 0


def trim(client: Any, prefix: str, length: int) -> None:
    client.xtrim(f"{prefix}:events", maxlen=length, approximate=False)


def everything(client: Any, prefix: str) -> int:
    """Records that invalidate everything."""
    return sum(b"everything" in record for record in records(client, prefix))


@pytest.mark.parametrize("read_before", [None, 0, 3, 20])
async def test_events_that_were_trimmed_before_they_were_read_invalidate_everything_once(
    redis_server: RedisServer, prefix: str, read_before: int | None
) -> None:
    client = redis_server.client()
    at = subscribe(redis_server, prefix)
    if read_before is not None:
        client.xgroup_create(at.stream, at.group, id="0", mkstream=True)
    if read_before:
        for number in range(read_before):
            publish(client, prefix, f"read{number}")
        client.xreadgroup(at.group, "before", {at.stream: ">"}, count=read_before, noack=True)
    for number in range(20):
        publish(client, prefix, f"t{number}")
    trim(client, prefix, 5)
    async with make_manager(redis_server, prefix, product={}) as manager:
        await manager.set("product", "1", "old")
        async with consuming(manager, at) as consumer:
            await eventually(lambda: consumer.health.applied == 5, "the others are applied")
            await eventually(lambda: consumer.health.lag == 0, "and it has looked again")
            assert consumer.health.lost == 15
            assert await manager.get("product", "1") is None
        trim(client, prefix, 0)
        async with consuming(manager, at) as after_a_restart:
            publish(client, prefix, "new")
            await eventually(lambda: after_a_restart.health.applied == 1, "applied")
            assert after_a_restart.health.lost == 0
    assert everything(client, prefix) == 1


async def test_trimming_what_was_read_is_no_loss(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    at = subscribe(redis_server, prefix, batch=2)
    async with make_manager(redis_server, prefix) as manager, consuming(manager, at) as consumer:
        for number in range(12):
            publish(client, prefix, f"t{number}")
            await eventually(lambda: consumer.health.applied == number + 1, "applied")  # noqa: B023 - waited for
            if number % 4 == 3:
                trim(client, prefix, number % 3)
        for number in range(12, 20):
            publish(client, prefix, f"t{number}")
        await eventually(lambda: consumer.health.applied == 20, "applied")
        assert consumer.health.lost == 0
    assert everything(client, prefix) == 0


async def test_an_unread_event_that_was_deleted_invalidates_everything(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    at = subscribe(redis_server, prefix)
    client.xgroup_create(at.stream, at.group, id="0", mkstream=True)
    publish(client, prefix, "read")
    client.xreadgroup(at.group, "before", {at.stream: ">"}, noack=True)
    gone = publish(client, prefix, "gone")
    publish(client, prefix, "left")
    client.xdel(at.stream, gone)
    async with make_manager(redis_server, prefix) as manager, consuming(manager, at) as consumer:
        await eventually(lambda: consumer.health.applied == 1, "the other is applied")
        assert consumer.health.lost == 1
    assert everything(client, prefix) == 1


async def test_two_consumers_count_a_loss_once(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    for number in range(20):
        publish(client, prefix, f"t{number}")
    trim(client, prefix, 5)
    async with (
        make_manager(redis_server, prefix) as manager,
        consuming(manager, subscribe(redis_server, prefix, "one")) as one,
        consuming(manager, subscribe(redis_server, prefix, "two")) as two,
    ):
        await eventually(lambda: one.health.applied + two.health.applied == 5, "applied")
        await eventually(lambda: one.health.last_read and two.health.last_read, "both have looked")
        await eventually(lambda: one.health.lost + two.health.lost == 15, "counted")
