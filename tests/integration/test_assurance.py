"""An invalidation is acknowledged when those have it who must; a server that may lose the log is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager, ConfigError, Key
from stoker.worker.embedded import find_server
from tests.managers import PATIENT
from tests.servers import RedisServer
from tests.waiting import eventually, wait_until


def make(server: RedisServer, **redis: Any) -> CacheManager:
    config = {"prefix": "t", "redis": {"url": server.url, **PATIENT, **redis}}
    return CacheManager(CacheConfig.model_validate(config), recording=False)


async def connect_again(server: RedisServer, cache: CacheManager) -> None:
    before = cache.link.connections
    server.client().client_kill_filter(_type="normal", skipme=True)
    await eventually(lambda: cache.link.connections > before and cache.link.ready, "connected again")


@pytest.fixture
def replica(own_redis_server: RedisServer) -> Iterator[RedisServer]:
    """A replica of the test's own server, in step with it."""
    master = own_redis_server
    client = master.client()
    client.config_set("repl-diskless-sync-delay", "0")
    server = RedisServer("--replicaof", "127.0.0.1", str(master.port)).start()
    wait_until(lambda: server.client().info("replication")["master_link_status"] == "up", "in step")
    yield server
    server.stop()


async def test_an_append_waits_for_its_replicas(own_redis_server: RedisServer, replica: RedisServer) -> None:
    async with make(own_redis_server, wait_replicas=1, wait_timeout=10) as cache:
        receipt = await cache.invalidate(Key("db_query", "1"))
        assert receipt.acknowledged
        [(stream_id, _)] = replica.client().xrevrange(cache.keys.log, count=1)
        assert stream_id.decode() == receipt.log_id, "the replica has it already"


async def test_without_its_replicas_it_stands_in_the_log_and_is_not_acknowledged(
    own_redis_server: RedisServer, replica: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with make(own_redis_server, wait_replicas=1, wait_timeout=1) as cache:
        await cache.set("db_query", "1", 1)
        assert (await cache.invalidate(Key("db_query", "0"))).acknowledged
        replica.freeze()
        with caplog.at_level(logging.WARNING, "stoker"):
            receipts = [await cache.invalidate(Key("db_query", str(number))) for number in range(3)]
            assert [receipt.acknowledged for receipt in receipts] == [False] * 3
            assert receipts[0].log_id is not None
            assert await cache.get("db_query", "1") is None, "it is obeyed"
            assert cache.log.kept.empty
            assert caplog.text.count("action=append_unassured") == 1
            replica.thaw()

            async def acknowledged() -> bool:
                return (await cache.invalidate(Key("db_query", "2"))).acknowledged

            await eventually(acknowledged, "the replica is back")
            assert caplog.text.count("action=append_assured") == 1


async def test_reads_do_not_wait_for_the_replicas_of_appends(own_redis_server: RedisServer) -> None:
    client = own_redis_server.client()
    async with make(own_redis_server, wait_replicas=1, wait_timeout=60) as cache:
        await cache.set("db_query", "1", 1)
        tasks = [asyncio.create_task(cache.invalidate(Key("db_query", str(number)))) for number in (2, 3)]
        await eventually(lambda: client.xlen(cache.keys.log) == 3, "they are appended, and wait")
        assert await cache.get("db_query", "1") == 1
        assert not any(task.done() for task in tasks)
        client.client_kill_filter(_type="normal", skipme=True)
        for task in tasks:
            assert not (await task).acknowledged


async def test_an_append_waits_for_the_disk_or_says_that_there_is_none() -> None:
    server = RedisServer(program=str(find_server())).start()  # one that knows WAITAOF
    try:
        async with make(server, wait_aof=True, wait_timeout=10) as cache:
            assert not (await cache.invalidate(Key("db_query", "1"))).acknowledged
            server.client().config_set("appendonly", "yes")

            async def acknowledged() -> bool:
                return (await cache.invalidate(Key("db_query", "2"))).acknowledged

            await eventually(acknowledged, "the append-only file is there")
    finally:
        server.stop()


async def test_a_server_that_may_evict_the_log_is_refused_at_the_start(
    own_redis_server: RedisServer,
) -> None:
    client = own_redis_server.client()
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    cache = make(own_redis_server)
    with pytest.raises(ConfigError, match="allkeys-lru may evict the invalidation log"):
        await cache.connect()
    assert not cache.link.ready, "nothing is left behind"
    async with make(own_redis_server, allow_eviction=True) as careless:
        assert await careless.set("db_query", "1", 1)
    for policy in ("volatile-lru", "noeviction"):
        client.config_set("maxmemory-policy", policy)
        async with make(own_redis_server) as fit:
            assert await fit.set("db_query", "1", 1)


async def test_a_server_that_becomes_unfit_is_told_and_used(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = own_redis_server.client()
    async with make(own_redis_server) as cache:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-random")
        with caplog.at_level(logging.ERROR, "stoker"):
            await connect_again(own_redis_server, cache)
            await connect_again(own_redis_server, cache)
        assert caplog.text.count("action=server_unfit") == 1
        assert await cache.set("db_query", "1", 1)
