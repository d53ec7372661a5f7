"""What one turn of the event loop asks for may leave in several writes; each read is as strict as alone."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from stoker.core import SyncCacheManager
from stoker.core.entries.tier import FETCH_BATCH, FETCH_TOGETHER
from stoker.core.link.sending import WRITE_TOGETHER
from tests.managers import make_config, make_manager
from tests.servers import RedisServer


async def test_what_begins_after_the_first_write_of_a_turn_sees_what_was_invalidated_meanwhile(
    redis_server: RedisServer, prefix: str
) -> None:
    keys = [str(number) for number in range(WRITE_TOGETHER + WRITE_TOGETHER // 2)]
    elsewhere = SyncCacheManager(make_config(redis_server, prefix))
    with ThreadPoolExecutor(1) as thread:
        async with make_manager(redis_server, prefix) as cache:
            assert await cache.set_many("db_query", dict.fromkeys(keys, "old")) == len(keys)

            async def invalidate() -> bool:
                # The turn stands still meanwhile, so that nothing of what was sent before has been answered.
                return bool(thread.submit(elsewhere.invalidate_type, "db_query").result().log_id)

            before = [asyncio.create_task(cache.get("db_query", key)) for key in keys]
            acknowledged = asyncio.create_task(invalidate())
            after = [asyncio.create_task(cache.get("db_query", key)) for key in keys]
            assert await acknowledged
            assert await asyncio.gather(*after) == [None] * len(keys)
            assert set(await asyncio.gather(*before)) <= {"old", None}  # they began before
        thread.submit(elsewhere.close).result()


async def test_a_batch_of_any_size_has_each_of_its_keys(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        for size in (1, FETCH_TOGETHER, FETCH_TOGETHER + 1, FETCH_BATCH + FETCH_TOGETHER + 1):
            keys = [f"{size}-{number}" for number in range(size)]
            stored = {key: number for number, key in enumerate(keys) if number % 7 != 1}
            assert await cache.set_many("db_query", stored) == len(stored)
            assert await cache.get_many("db_query", keys) == stored
