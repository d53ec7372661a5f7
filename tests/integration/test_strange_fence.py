"""A fence that no sweep has raised: loads are stored again soon, without a new connection."""

from __future__ import annotations

import pytest

from stoker.core import CacheManager
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

BEYOND = "99999999999999-0"


def spoil(server: RedisServer, cache: CacheManager, how: str) -> None:
    """Put a fence where it should not be, as a stranger may, or a clock that ran ahead and was set back."""
    client, name = server.client(), cache.keys.fence
    epoch, _, floor = client.get(name).decode().split(":")
    if how == "a list":
        client.delete(name)
        client.rpush(name, "x")
    else:
        client.set(name, {"beyond": f"{epoch}:{BEYOND}:{floor}", "unreadable": f"{epoch}:x"}[how])


@pytest.mark.parametrize("how", ["beyond", "unreadable", "a list"])
@pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"]])
async def test_loads_are_stored_again_soon(
    redis_server: RedisServer, prefix: str, tiers: list[str], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60, "tiers": tiers}) as cache:
        spoil(redis_server, cache, how)
        connections, loads = cache.link.connections, 0

        async def load() -> int:
            nonlocal loads
            loads += 1
            return loads

        async def stored() -> bool:
            await cache.get_or_load("page", "k", load)
            return bool(redis_server.client().exists(cache.keys.entry("page", "k")))

        await eventually(stored, "a load that is stored")
        assert await cache.get_or_load("page", "k", load) == loads
        assert cache.link.connections == connections
        assert "action=epoch_opened" in caplog.text
