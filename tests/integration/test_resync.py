"""The log is looked at anew on a connection that goes on serving: no read may meet what is half read."""

from __future__ import annotations

import asyncio

from stoker.core import CacheManager, Key, Tag
from stoker.core.maintenance.sweep import sweep
from tests.managers import make_manager
from tests.proxies import Proxy
from tests.servers import RedisServer
from tests.sources import Source
from tests.waiting import eventually

#: A record that opened an epoch, in a reply.
EPOCH_RECORD = b"$5\r\nepoch\r\n"


def asks_for_floor(cache: CacheManager) -> bytes:
    """The last command of a look at the log, once its newest records have been read."""
    return f"GET\r\n${len(cache.keys.fence)}\r\n{cache.keys.fence}".encode()


async def until_sent(proxy: Proxy, cache: CacheManager, key: str) -> None:
    name = cache.keys.entry("page", key).encode()
    await eventually(lambda: name in proxy.up.held, "the read has been sent")


async def test_a_read_while_the_log_is_looked_at_anew_obeys_what_was_acknowledged(
    redis_server: RedisServer, prefix: str
) -> None:
    """A load that is overtaken by the fence of a sweep, which has not ended yet, makes a process look."""
    source = Source()
    async with (
        Proxy(redis_server) as proxy,
        Proxy(redis_server) as slow_proxy,
        make_manager(redis_server, prefix, page={}) as writer,
        make_manager(proxy, prefix, page={}) as reader,
        make_manager(slow_proxy, prefix, page={}) as worker,
    ):
        source.gate.clear()
        slow = asyncio.create_task(reader.get_or_load("page", "slow", source.load))
        await source.reading.wait()
        await writer.invalidate(Tag("elsewhere"))
        assert await writer.set("page", "k", "old")
        slow_proxy.up.hold(b"SCAN\r\n")
        sweeping = asyncio.create_task(sweep(worker, minimum_age=0, minimum_records=0))
        await slow_proxy.up.holding.wait()
        proxy.up.hold(asks_for_floor(reader))
        source.gate.set()
        assert await slow == 1
        await proxy.up.holding.wait()
        assert (await writer.invalidate(Key("page", "k"))).acknowledged
        read = asyncio.create_task(reader.get("page", "k"))
        await until_sent(proxy, reader, "k")
        proxy.up.release()
        assert await read is None
        slow_proxy.up.release()
        await sweeping


async def test_memory_keeps_nothing_dead_that_was_read_while_the_log_was_looked_at_anew(
    redis_server: RedisServer, prefix: str
) -> None:
    page = {"tiers": ["memory", "redis"], "memory_bound": 60}
    async with (
        Proxy(redis_server) as proxy,
        make_manager(redis_server, prefix, page=page) as writer,
        make_manager(proxy, prefix, page=page) as reader,
    ):
        await writer.invalidate(Tag("elsewhere"))
        assert await writer.set("page", "k", "old")
        await eventually(lambda: reader.log.seen == writer.log.known, "all is known")
        proxy.down.hold(EPOCH_RECORD)
        reader.log.lose()
        await proxy.down.holding.wait()  # the newest records are on their way
        assert (await writer.invalidate(Key("page", "k"))).acknowledged
        other = asyncio.create_task(reader.get("page", "other"))
        await eventually(lambda: b"page:k" in proxy.down.held, "another read's check has brought the record")
        proxy.up.hold(asks_for_floor(reader))
        proxy.down.release()
        await proxy.up.holding.wait()
        read = asyncio.create_task(reader.get("page", "k"))
        await until_sent(proxy, reader, "k")
        proxy.up.release()
        assert (await read, await other) == (None, None)
        assert await reader.get("page", "k") is None


async def test_what_is_found_lost_again_while_it_is_looked_at_is_looked_at_once_more(
    redis_server: RedisServer, prefix: str
) -> None:
    async with Proxy(redis_server) as proxy, make_manager(proxy, prefix, page={}) as cache:
        lost = cache.log.epoch
        proxy.up.hold(asks_for_floor(cache))
        cache.log.lose()
        await proxy.up.holding.wait()
        client = redis_server.client()
        client.unlink(cache.keys.log)  # what has been read of it is of no log any more
        cache.log.lose()
        proxy.up.release()
        assert await cache.log.resync()
        assert cache.log.epoch != lost
        assert cache.log.epoch == int(client.get(cache.keys.fence)[:16], 16)
