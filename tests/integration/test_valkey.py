"""The same on Valkey, in short: one server, a cluster, sentinels. $STOKER_TEST_SERVER runs all on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from stoker.core import Everything, Key, Pattern, Tag
from stoker.core.maintenance.sweep import sweep
from tests.clusters import ClusterServers, Sentinels, replicate
from tests.conftest import missing
from tests.freshness import Traffic
from tests.managers import make_manager
from tests.servers import RedisServer, valkey_program

KEYS = [str(number) for number in range(20)]


@pytest.fixture
def program() -> str:
    found = valkey_program()
    if found is None:
        missing("a Valkey server")
    assert found
    return found


Servers = RedisServer | ClusterServers | Sentinels


@pytest.fixture(params=["server", "cluster", "sentinel"])
def servers(request: pytest.FixtureRequest, program: str) -> Iterator[Servers]:
    """Where caches may be, all of it Valkey."""
    if request.param == "cluster":
        cluster = ClusterServers(3, program=program)
        try:
            yield cluster.start()
        finally:
            cluster.stop()
        return
    server, replica = (RedisServer("--repl-diskless-sync-delay", "0", program=program) for _ in range(2))
    sentinels = Sentinels(server, program=program)
    try:
        server.start()
        if request.param == "server":
            yield server
            return
        replicate(replica.start(), server)
        yield sentinels.start()
    finally:
        for one in (sentinels, replica, server):
            one.stop()


async def test_what_is_stored_is_served_until_it_is_invalidated(servers: Servers) -> None:
    async with (
        make_manager(servers, "t", product={"ttl": 60}) as cache,
        make_manager(servers, "t", product={"ttl": 60}) as peer,
    ):
        for scope in (Key("product", "1"), Tag("t"), Pattern("product", "?"), Everything()):
            assert await cache.set("product", "1", "tea", tags=["t"])
            assert await peer.get("product", "1") == "tea"
            assert (await peer.invalidate(scope)).acknowledged
            assert await cache.get("product", "1") is None
        async with Traffic([cache, peer], KEYS, readers=2) as traffic:
            cache.link.commit_seconds = peer.link.commit_seconds = 0.5  # only a cluster goes by it
            for _ in range(3):
                await sweep(cache, minimum_age=0.0, minimum_records=1)
        assert traffic.errors == []
        assert traffic.stale == []
        assert traffic.acknowledged
