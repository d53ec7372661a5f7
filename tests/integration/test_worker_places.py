"""The worker's own connections, where the caches are on a cluster or behind sentinels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stoker.core import Tag
from stoker.core.errors import ConfigError
from stoker.core.keys import Keys
from stoker.core.link.clients import async_client, blocking_client
from stoker.worker.app import broker_url, create_app
from stoker.worker.config import StokerConfig
from stoker.worker.consumer import EventConsumer, Subscription
from stoker.worker.doctor import examine
from stoker.worker.health import redis_reachable, run_check
from stoker.worker.lease import Lease
from tests.clusters import ClusterServers, Sentinels, replicate
from tests.managers import make_manager
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

Place = ClusterServers | Sentinels


@pytest.fixture(scope="module", params=["cluster", "sentinel"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "cluster":
        cluster = ClusterServers(3)
        try:
            yield cluster.start()
        finally:
            cluster.stop()
        return
    server, replica = (RedisServer("--repl-diskless-sync-delay", "0") for _ in range(2))
    sentinels = Sentinels(server)
    try:
        server.start()
        replicate(replica.start(), server)
        yield sentinels.start()
    finally:
        for one in (sentinels, replica, server):
            one.stop()


async def test_events_are_applied_and_malformed_ones_set_aside(place: Place) -> None:
    keys = Keys("t")
    client: Any = async_client(place.url)
    async with make_manager(place, "t", product={"ttl": 60}) as cache, client:
        assert await cache.set("product", "k", 1, tags=["spring"])

        async def connected() -> Any:
            return cache

        at = Subscription(place.url, keys.events, keys.dead_events, block=0.05)
        consumer = EventConsumer(at, connected)
        task = asyncio.create_task(consumer.run())
        await client.xadd(keys.events, {"d": b"no JSON"})
        await client.xadd(keys.events, {"d": b'{"scopes": [{"tag": "spring"}]}'})
        await eventually(lambda: consumer.health.applied == 1, "the event is applied")
        assert await cache.get("product", "k") is None
        await eventually(lambda: client.xlen(keys.dead_events), "what can't be read is set aside")
        assert (await client.xpending(keys.events, "stoker"))["pending"] == 0
        assert consumer.health.problem is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await cache.invalidate(Tag("x"))).acknowledged


async def test_the_server_counts_as_reachable(place: Place) -> None:
    assert await run_check(redis_reachable(place.url)) is None


@pytest.mark.parametrize("kind", ["cluster://127.0.0.1:{port}", "sentinel://127.0.0.1:{port}/mymaster"])
async def test_a_place_where_nobody_listens_is_not(kind: str) -> None:
    reason = await run_check(redis_reachable("redis+" + kind.format(port=free_port())))
    assert reason is not None
    assert "not reachable" in reason


def test_one_beat_leads(place: Place) -> None:
    with blocking_client(place.url) as client:
        first, second = (Lease(client, "t:beat:leader", 5.0, name) for name in ("one", "two"))
        assert first.contend()
        assert not second.contend()
        first.release()
        assert second.contend()
        second.release()


def test_the_doctor_can_look_at_it(place: Place) -> None:
    config = StokerConfig.model_validate({"prefix": "t", "redis": {"url": place.url, "timeout": 5}})
    found = {finding.about: finding for finding in examine(config)}
    assert found["server"].severity == "ok"
    assert not [finding for finding in found.values() if finding.severity == "error"]


def test_the_doctor_tells_of_a_cluster_that_is_away() -> None:
    url = f"redis+cluster://127.0.0.1:{free_port()}"
    found = examine(StokerConfig.model_validate({"redis": {"url": url}}))
    assert any(finding.severity == "error" for finding in found)


def test_tasks_go_through_sentinels_or_need_a_broker_of_their_own() -> None:
    url = "redis+sentinel://:pw@h1,h2:26380/main/3?sentinel_password=x"
    app: Any = create_app(StokerConfig.model_validate({"redis": {"url": url}}))
    assert app.conf.broker_url == "sentinel://:pw@h1:26379/3;sentinel://:pw@h2:26380/3"
    options = app.conf.broker_transport_options
    assert options["master_name"] == "main"
    assert options["sentinel_kwargs"]["password"] == "x"
    for refused in ("redis+cluster://h", "rediss+sentinel://h/main"):
        with pytest.raises(ConfigError, match=r"broker\.url"):
            broker_url(StokerConfig.model_validate({"redis": {"url": refused}}))
