"""TCP keep-alive is set on the sockets themselves, and left off where it is not wanted."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from stoker.core import CacheConfig, CacheManager
from stoker.core.linking import address
from tests.clusters import ClusterServers
from tests.managers import PATIENT, Reached
from tests.servers import RedisServer


def make(server: Reached, prefix: str, *, keepalive: bool) -> CacheManager:
    settings = {"prefix": prefix, "redis": {"url": server.url, "keepalive": keepalive, **PATIENT}}
    return CacheManager(CacheConfig.model_validate(settings), recording=False)


def is_kept_alive(transport: asyncio.Transport | None) -> bool:
    assert transport is not None
    return bool(transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


@pytest.mark.parametrize("keepalive", [True, False])
async def test_it_is_set_as_configured(redis_server: RedisServer, prefix: str, keepalive: bool) -> None:
    async with make(redis_server, prefix, keepalive=keepalive) as cache:
        assert is_kept_alive(cache.link._transport) is keepalive
        _stream, another = await cache.link.open_another()
        assert is_kept_alive(another) is keepalive
        another.abort()
        assert await cache.set("session", "s", 1)


@pytest.mark.parametrize("keepalive", [True, False])
async def test_it_is_set_to_all_servers_of_a_cluster(
    cluster: ClusterServers, cluster_prefix: str, keepalive: bool
) -> None:
    async with make(cluster, cluster_prefix, keepalive=keepalive) as cache:
        links = [cache.link, *(link for _, link in cache.link._nodes.links())]  # type: ignore[attr-defined]  # pyright: ignore
        assert len(links) == 3
        assert [is_kept_alive(link._transport) for link in links] == [keepalive] * 3


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="needs a system that tells how it probes")
async def test_idle_connections_are_probed_long_before_systems_do(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make(redis_server, prefix, keepalive=True) as cache:
        assert cache.link._transport is not None
        sock = cache.link._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


@pytest.mark.parametrize("keepalive", [True, False])
def test_a_unix_socket_has_none(tmp_path: Path, keepalive: bool) -> None:
    config = CacheConfig.model_validate(
        {"redis": {"url": f"unix://{tmp_path}/r.sock", "keepalive": keepalive}}
    )
    assert address(config.redis) == f"unix://{tmp_path}/r.sock"
