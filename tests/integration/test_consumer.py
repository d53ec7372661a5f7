"""The event consumer on a real server: applied, then acknowledged; nothing is lost, whatever dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.core import Event, Key, Tag, UsageError, make_event
from stoker.core import publish as publish_event
from stoker.worker import consumer as module
from tests.components import Component
from tests.consumers import consuming, flat_records, pending, publish, records, subscribe, tags
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually, wait_until


async def test_an_event_is_applied_and_then_acknowledged(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as manager:
        await manager.set("db_query", "q", 1, tags=["a"])
        async with consuming(manager, subscribe(redis_server, prefix)) as consumer:
            publish(client, prefix, "a", "order-17")
            await eventually(lambda: consumer.health.applied == 1, "applied")
            assert await manager.get("db_query", "q") is None
            (record,) = records(client, prefix)
            assert record == {b"tag": b"a", b"_by": b"test", b"_trace": b"order-17", b"_reason": b"why"}
            assert pending(client, prefix) == 0
            assert consumer.health.problem is None
            assert consumer.health.held == 0


async def test_only_what_a_consumer_accepts_is_published(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as manager:
        for wrong in ("x", None, Event("a,b", (Tag("a"),)), Event("a", ())):
            with pytest.raises(UsageError):
                await publish_event(manager, wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="is no scope"):
            await manager.invalidate(None)  # type: ignore[arg-type]
        assert await publish_event(manager, make_event(Tag("a")))
    assert redis_server.client().xlen(f"{prefix}:events") == 1


async def test_what_was_published_before_the_first_start_is_read_too(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    for number in range(3):
        publish(client, prefix, f"t{number}")
    async with (
        make_manager(redis_server, prefix) as manager,
        consuming(manager, subscribe(redis_server, prefix)) as consumer,
    ):
        await eventually(lambda: consumer.health.applied == 3, "applied")


async def test_a_batch_is_one_record(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    for number in range(10):
        publish(client, prefix, f"t{number % 4}", f"id{number}")
    async with (
        make_manager(redis_server, prefix) as manager,
        consuming(manager, subscribe(redis_server, prefix)) as consumer,
    ):
        await eventually(lambda: consumer.health.applied == 10, "applied")
    (fields,) = flat_records(client, prefix)
    assert fields.count(b"tag") == 4
    assert fields[fields.index(b"_trace") + 1].decode() == ",".join(f"id{number}" for number in range(10))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "no event"),
        (b'{"scopes": [{"tg": "a"}]}', "unknown field `tg` - at `$.scopes[0]`"),
        (b'{"scopes": [{"type": "product"}, {}]}', "scopes[1]"),
        (b'{"scopes": []}', "names 1 to"),
        (b"\xff\x00", "no event"),
        (b'{"scopes": [{"tag": "' + b"x" * 70_000 + b'"}]}', "bytes are more than an event may have"),
    ],
)
async def test_a_malformed_one_goes_to_the_dead_stream_with_the_reason(
    redis_server: RedisServer, prefix: str, raw: bytes, reason: str
) -> None:
    client = redis_server.client()
    publish(client, prefix, "before")
    bad = client.xadd(f"{prefix}:events", {"d": raw})
    publish(client, prefix, "after")
    async with (
        make_manager(redis_server, prefix) as manager,
        consuming(manager, subscribe(redis_server, prefix)) as consumer,
    ):
        await eventually(lambda: consumer.health.applied == 2, "the others are applied")
        assert consumer.health.dead == 1
    ((_, dead),) = client.xrange(f"{prefix}:events:dead")
    assert dead[b"id"] == bad
    assert dead[b"stream"] == f"{prefix}:events".encode()
    assert dead[b"d"] == raw[: 64 * 1024]
    assert reason in dead[b"reason"].decode()
    assert len(dead[b"reason"]) <= 600
    assert pending(client, prefix) == 0


async def test_a_message_without_the_field_is_malformed(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    client.xadd(f"{prefix}:events", {"data": b"x", "kind": b"y"})
    async with (
        make_manager(redis_server, prefix) as manager,
        consuming(manager, subscribe(redis_server, prefix)) as consumer,
    ):
        await eventually(lambda: consumer.health.dead == 1, "set aside")
    ((_, dead),) = client.xrange(f"{prefix}:events:dead")
    assert dead[b"reason"] == b"no field d with the event's JSON, but data, kind"
    assert (dead[b"d"], dead[b"field:data"], dead[b"field:kind"]) == (b"", b"x", b"y")


@pytest.mark.parametrize(
    ("fields", "reason", "kept"),
    [
        (("d", "A", "d", "B"), b"the field d is given 2 times", [b"d", b"A", b"field:d", b"B"]),
        (
            ("x", "1", "d", "A"),
            b"an entry has the field d alone, this one x too",
            [b"d", b"A", b"field:x", b"1"],
        ),
        (("x", "1", "x", "2"), b"no field d", [b"d", b"", b"field:x", b"1", b"field:x", b"2"]),
        (("x", "1" * 70_000, "y", "2"), b"no field d", [b"d", b"", b"field:x", b"1" * (64 * 1024 - 1)]),
    ],
)
@pytest.mark.parametrize("claimed", [False, True])
async def test_an_entry_with_more_than_one_event_is_set_aside_whole(
    redis_server: RedisServer,
    prefix: str,
    fields: tuple[str, ...],
    reason: bytes,
    kept: list[bytes],
    claimed: bool,
) -> None:
    client = redis_server.client()
    at = subscribe(redis_server, prefix, claim_after=0.05)
    events = {text: make_event(Tag(text)).pack() for text in "AB"}
    client.xgroup_create(at.stream, at.group, id="0", mkstream=True)
    client.execute_command("XADD", at.stream, "*", *[events.get(text, text) for text in fields])
    if claimed:
        client.xreadgroup(at.group, "a dead peer", {at.stream: ">"})
    async with make_manager(redis_server, prefix) as manager, consuming(manager, at) as consumer:
        await eventually(lambda: consumer.health.dead == 1, "set aside")
        assert (consumer.health.applied, consumer.health.lost) == (0, 0)
    script = "return redis.call('XRANGE', KEYS[1], '-', '+')"
    ((_, dead),) = client.eval(script, 1, at.dead)
    expected = [events.get(text.decode(), text) for text in kept]
    assert dead[:2] + dead[8:] == expected
    assert dead[2] == b"reason"
    assert dead[3].startswith(reason)
    assert pending(client, prefix) == 0


async def test_an_event_of_an_unknown_type_is_applied_and_warned_about_once(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = redis_server.client()
    async with (
        make_manager(redis_server, prefix, product={}) as manager,
        consuming(manager, subscribe(redis_server, prefix)) as consumer,
    ):
        for key in ("1", "2"):
            event = make_event(Key("prodcut", key), Key("product", key))
            client.xadd(f"{prefix}:events", {"d": event.pack()})
        await eventually(lambda: consumer.health.applied == 2, "applied")
        assert consumer.health.unknown_types == 2
        assert consumer.health.details()["events_unknown_types"] == 2
    assert sum("event_of_unknown_type cache_type=prodcut" in line for line in caplog.messages) == 1
    named = [field for record in flat_records(client, prefix) for field in record]
    assert b"prodcut:1" in named


async def test_duplicates_are_harmless(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with (
        make_manager(redis_server, prefix, product={}) as manager,
        consuming(manager, subscribe(redis_server, prefix)) as consumer,
    ):
        await eventually(lambda: consumer.health.last_read is not None, "it reads")
        for _ in range(2):
            publish(client, prefix, "a", "same")
            await eventually(lambda: pending(client, prefix) == 0, "acknowledged")
        await eventually(lambda: consumer.health.applied == 2, "applied")
        assert await manager.set("product", "1", "new", tags=["a"])
        assert await manager.get("product", "1") == "new"


async def test_a_batch_that_the_log_refuses_stays_pending_and_is_tried_again(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    async with (
        make_manager(redis_server, prefix) as manager,
        consuming(manager, subscribe(redis_server, prefix)) as consumer,
    ):
        await eventually(lambda: consumer.health.last_read is not None, "it reads")
        client.delete(f"{prefix}:log")
        client.set(f"{prefix}:log", "in the way", ex=60)
        publish(client, prefix, "a")
        await eventually(lambda: consumer.health.retries >= 2, "tried again")
        assert pending(client, prefix) == 1
        assert consumer.health.applied == 0
        assert consumer.health.held == 1
        assert "tried again" in (consumer.health.problem or "")
        client.delete(f"{prefix}:log")
        await eventually(lambda: consumer.health.applied == 1, "applied once the log is back")
        await eventually(lambda: consumer.health.problem is None, "and well again")
    assert tags(client, prefix) == ["a"]
    assert pending(client, prefix) == 0


async def test_own_pending_messages_come_first(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    at = subscribe(redis_server, prefix, batch=2)
    for number in range(5):
        publish(client, prefix, f"old{number}")
    client.xgroup_create(at.stream, at.group, id="0")
    client.xreadgroup(at.group, at.name, {at.stream: ">"}, count=5)  # and dies
    publish(client, prefix, "new")
    async with make_manager(redis_server, prefix) as manager, consuming(manager, at) as consumer:
        await eventually(lambda: consumer.health.applied == 6, "applied")
    assert records(client, prefix)[-1][b"tag"] == b"new"
    assert pending(client, prefix) == 0


async def test_what_a_dead_peer_holds_is_claimed_and_its_name_forgotten(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORGET_AFTER_SECONDS", 0.05)
    client = redis_server.client()
    at = subscribe(redis_server, prefix, name="alive", claim_after=0.1)
    client.xgroup_create(at.stream, at.group, id="0", mkstream=True)
    for number in range(3):
        publish(client, prefix, f"held{number}")
    client.xreadgroup(at.group, "dead", {at.stream: ">"}, count=3)
    async with make_manager(redis_server, prefix) as manager, consuming(manager, at) as consumer:
        await eventually(lambda: consumer.health.applied == 3, "claimed and applied")
        assert pending(client, prefix) == 0

        def names() -> set[bytes]:
            return {consumer["name"] for consumer in client.xinfo_consumers(at.stream, at.group)}

        await eventually(lambda: names() == {b"alive"}, "the dead one's name is forgotten")


async def test_it_survives_a_flush_and_a_restart(own_redis_server: RedisServer) -> None:
    server, client = own_redis_server, own_redis_server.client()
    async with (
        make_manager(server, "s") as manager,
        consuming(manager, subscribe(server, "s")) as consumer,
    ):
        await eventually(lambda: consumer.health.last_read is not None, "it reads")
        client.flushall()
        publish(client, "s", "after-flush")
        await eventually(lambda: consumer.health.applied == 1, "applied after the flush")

        server.kill()
        await eventually(lambda: consumer.health.problem is not None, "it knows that the server is gone")
        server.start()
        publish(server.client(), "s", "after-restart")
        await eventually(lambda: consumer.health.applied == 2, "applied after the restart")
    assert tags(server.client(), "s") == ["after-restart"]


async def test_a_frozen_server_is_noticed(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPLY_SECONDS", 0.5)
    server, client = own_redis_server, own_redis_server.client()
    async with (
        make_manager(server, "s") as manager,
        consuming(manager, subscribe(server, "s")) as consumer,
    ):
        await eventually(lambda: consumer.health.last_read is not None, "it reads")
        server.freeze()
        try:
            await eventually(lambda: consumer.health.problem is not None, "a read was given up")
        finally:
            server.thaw()
        publish(client, "s", "later")
        await eventually(lambda: consumer.health.applied == 1, "applied afterwards")


async def test_health_tells_the_lag(redis_server: RedisServer, prefix: str) -> None:
    async with (
        make_manager(redis_server, prefix) as manager,
        consuming(manager, subscribe(redis_server, prefix)) as consumer,
    ):
        await eventually(lambda: consumer.health.lag == 0, "nothing waits")
        assert consumer.health.details()["events_lag"] == 0
        age = consumer.health.age()
        assert age is not None
        assert age >= 0


def test_killed_in_the_middle_a_worker_applies_the_batch_when_it_is_back(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    """SIGKILL between the read and the acknowledgement, which the log holds up by not being a stream."""
    client = redis_server.client()
    config = {"prefix": prefix, "redis": {"url": redis_server.url, "timeout": 5, "connect_timeout": 5}}
    with Component("worker", tmp_path, config) as worker:
        wait_until(lambda: client.exists(f"{prefix}:log"), "the worker has connected", timeout=30)
        wait_until(lambda: client.exists(f"{prefix}:events"), "the worker consumes", timeout=30)
        client.delete(f"{prefix}:log")
        client.set(f"{prefix}:log", "in the way", ex=60)
        for number in range(3):
            client.xadd(f"{prefix}:events", {"d": make_event(Key("product", str(number))).pack()})
        worker.wait_for("consumer_interrupted")
        wait_until(lambda: pending(client, prefix) > 0, "a batch is under way")
        worker.kill()

        client.delete(f"{prefix}:log")
        worker.start()
        wait_until(
            lambda: (
                client.exists(f"{prefix}:events")
                and pending(client, prefix) == 0
                and client.xinfo_groups(f"{prefix}:events")[0]["lag"] == 0
                and records(client, prefix)
            ),
            "the batch is applied",
            timeout=30,
        )
        fields = [field for record in flat_records(client, prefix) for field in record]
        keys = {field for field in fields if field.startswith(b"product:")}
        assert keys == {b"product:0", b"product:1", b"product:2"}
        assert worker.terminate() == 0
