"""After a failover all entries are stale at once; they are served, and loaded again at the type's pace."""

from __future__ import annotations

import asyncio

from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

KEYS = [str(number) for number in range(50)]


async def test_entries_from_before_are_loaded_again_at_a_pace(own_redis_server: RedisServer) -> None:
    policy = {"after_rollback": "revalidate", "warm": {"concurrency": 3, "loads_per_second": 1000}}
    running = most = loads = 0
    gate = asyncio.Event()

    async def load(key: str) -> int:
        nonlocal running, most, loads
        running += 1
        loads += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return 2

    async with make_manager(own_redis_server, "t", product=policy) as cache:
        for key in KEYS:
            await cache.set("product", key, 1)
        own_redis_server.client().delete(cache.keys.log)
        assert await cache.get("product", "0") is None, "the loss is noticed"
        served = await asyncio.gather(*(cache.get_or_load("product", key, load, key) for key in KEYS))
        assert served == [1] * len(KEYS), "nobody waits"
        await eventually(lambda: running == 3, "three are loaded again")
        assert loads == most == 3
        gate.set()

        async def all_loaded() -> bool:
            read = [await cache.get_or_load("product", key, load, key) for key in KEYS]
            return read == [2] * len(KEYS)

        await eventually(all_loaded, "in the end all are")
        assert most == 3
        assert loads == len(KEYS)


async def test_what_is_stale_by_age_is_not_held_up(own_redis_server: RedisServer) -> None:
    policy = {"ttl": 0.01, "stale": 60, "warm": {"concurrency": 1, "loads_per_second": 0.001}}
    loads = 0

    async def load(key: str) -> int:
        nonlocal loads
        loads += 1
        return 2

    async with make_manager(own_redis_server, "t", product=policy) as cache:
        for key in KEYS[:5]:
            await cache.set("product", key, 1)

        async def stale() -> bool:
            return await cache.get("product", KEYS[4]) is None

        await eventually(stale, "past its TTL")
        await asyncio.gather(*(cache.get_or_load("product", key, load, key) for key in KEYS[:5]))
        await eventually(lambda: loads == 5, "all are loaded behind the answers")
