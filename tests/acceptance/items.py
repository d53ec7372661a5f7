"""A loader that a test holds up: it begins, says so, and ends when it may."""

from __future__ import annotations

import asyncio
import os

import redis.asyncio

from stoker.core import loader

#: Where the loader and the test meet.
ITEMS_URL = "ITEMS_URL"


@loader("acceptance.item", cache_type="item")
async def load_item(channel: str, number: int) -> int:
    """Note the beginning, wait for `<channel>:go`, note the end."""
    client = redis.asyncio.Redis.from_url(os.environ[ITEMS_URL], protocol=2)
    async with client:
        await client.rpush(f"{channel}:begun", number)
        while not await client.exists(f"{channel}:go"):  # noqa: ASYNC110 - the test is another process
            await asyncio.sleep(0.02)
        await client.rpush(f"{channel}:ended", number)
    return number
