"""What the doctor says of the keys on a real server."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.worker.config import StokerConfig
from stoker.worker.doctor import Finding, examine_fleet
from tests.servers import RedisServer


def look(server: RedisServer, prefix: str, **fields: Any) -> dict[str, Finding]:
    config = StokerConfig.model_validate({"prefix": prefix, **fields})
    from stoker.worker.doctor import _client

    with _client(
        config.model_copy(update={"redis": config.redis.model_copy(update={"url": server.url})})
    ) as c:
        return {finding.about: finding for finding in examine_fleet(c, config)}


@pytest.mark.parametrize(
    "name",
    ["log", "fence", "events", "events:dead", "paused", "sizes", "processes", "beat:leader", "beat:last"],
)
def test_a_key_of_the_wrong_type_is_named(name: str, redis_server: RedisServer, prefix: str) -> None:
    key = f"{prefix}:{name}"
    with redis_server.client() as client:
        client.rpush(key, "not ours")
        client.expire(key, 60)

    found = look(redis_server, prefix)

    wrong = [finding for finding in found.values() if finding.severity == "error"]
    assert [finding.about for finding in wrong] == [key]
    assert "is a list, where Stoker keeps a" in wrong[0].text
    assert f"DEL {key}" in wrong[0].remedy
    assert {"worker", "beat", "exporter"} <= set(found)


@pytest.mark.parametrize("stream", [None, "shop.changes"])
def test_events_that_wait_and_events_that_are_dead(
    stream: str | None, redis_server: RedisServer, prefix: str
) -> None:
    name = f"{prefix}.{stream}" if stream else f"{prefix}:events"
    events: dict[str, Any] = {"events": {"stream": name}} if stream else {}
    assert look(redis_server, prefix, **events)["events"].severity == "ok"
    with redis_server.client() as client:
        for _ in range(3):
            client.xadd(name, {"d": "{}"})
        unread = look(redis_server, prefix, **events)["events"]
        client.xgroup_create(name, "stoker", id="0")
        client.xreadgroup("stoker", "one", {name: ">"}, count=1)
        waiting = look(redis_server, prefix, **events)["events"]
        ids = [entry[0] for entry in client.xrange(name)]
        client.xdel(name, ids[1])  # from then on the server doesn't know the lag
        after_xdel = look(redis_server, prefix, **events)["events"]
        client.xadd(f"{name}:dead", {"reason": "no field d", "d": b"\xff\xfe"})

    dead = look(redis_server, prefix, **events)["dead events"]

    assert "3 events wait" in unread.text
    assert "start a worker" in unread.remedy
    assert waiting.text.startswith("3 of 3 events")
    assert waiting.severity == "warning"
    assert after_xdel.text.startswith("2 of 2 events")
    assert dead.text.startswith(f"1 in {name}:dead could not be read")
    assert "no field d" in dead.text
    assert f"DEL {name}:dead" in dead.remedy
