"""Leases that nobody will give back: granted too late, or written by a stranger."""

from __future__ import annotations

import pytest

from stoker.core.loading import lease
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.sources import Source
from tests.waiting import eventually


async def test_a_lease_that_was_granted_after_its_asker_gave_up_is_given_back(
    own_redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 600.0)
    async with make_manager(own_redis_server, prefix, product={}) as cache:
        name, client = cache.keys.lease("product", "1"), own_redis_server.client()
        leases = lease.Leases(cache.link, cache.log, cache.keys)
        own_redis_server.freeze()
        try:
            assert await leases.take("product", "1", 6000.0) is None
        finally:
            own_redis_server.thaw()
        await eventually(lambda: not leases._late, "what was asked for was given back")
        await leases.close()
        assert not client.exists(name)


@pytest.mark.parametrize("value", ["", "garbage", "a:b:c"])
async def test_a_lease_that_no_process_of_stoker_has_written_is_taken_over(
    redis_server: RedisServer, prefix: str, value: str
) -> None:
    async with make_manager(redis_server, prefix, product={"load_timeout": 600}) as cache:
        redis_server.client().set(cache.keys.lease("product", "1"), value, ex=600)
        assert await cache.get_or_load("product", "1", Source("x").load) == "x"
        assert cache.counters.of("product").leases_taken_over == 1
