"""Writes whose caller gives up in the midst of them: all of a write is done, or nothing was begun."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from stoker.core import CacheManager
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

NEAR: dict[str, Any] = {"ttl": 600, "tiers": ["memory", "redis"]}
SOURCE: dict[str, Any] = {**NEAR, "kind": "authoritative"}
HERE: dict[str, Any] = {"ttl": 600, "tiers": ["memory"]}

#: Turns of the event loop after which a caller gives up: from its first on, beyond the write's end.
TURNS = range(1, 25)


async def give_up(work: Coroutine[Any, Any, Any], turns: int) -> None:
    """Cancel a call after so many turns of the event loop, of which it has had at least one."""
    caller = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)


async def served(manager: CacheManager, key: str) -> Any:
    return await manager.get("page", key)


@pytest.mark.parametrize("policy", [NEAR, SOURCE, HERE], ids=["derived", "authoritative", "in-memory-alone"])
@pytest.mark.parametrize("how", ["set", "token", "set_many"])
async def test_what_is_set_is_stored_and_told(
    redis_server: RedisServer, prefix: str, policy: dict[str, Any], how: str
) -> None:
    """Of a type in memory alone each process has a value of its own, which an overwrite elsewhere drops."""
    one, other = (make_manager(redis_server, prefix, page=policy) for _ in range(2))
    theirs = None if policy is HERE else "new"
    async with one, other:
        for turns in TURNS:
            key = f"k{turns}"
            assert await one.set("page", key, "old")
            assert await other.get_or_load("page", key, _old) == "old"
            assert (await served(one, key), await served(other, key)) == ("old", "old")
            if how == "token":
                token = await one.fill("page", key)
                await give_up(one.set("page", key, "new", token=token), turns)
            elif how == "set":
                await give_up(one.set("page", key, "new"), turns)
            else:
                await give_up(one.set_many("page", {key: "new", "beside": 1}), turns)

            async def has_come(key: str = key) -> bool:
                return [await served(one, key), await served(other, key)] == ["new", theirs]

            await eventually(has_come, f"all have it, given up after {turns} turns", timeout=5)


async def test_a_batch_after_misses_is_told(redis_server: RedisServer, prefix: str) -> None:
    one, other = (make_manager(redis_server, prefix, page=NEAR) for _ in range(2))
    async with one, other:
        for turns in TURNS:
            key = f"k{turns}"
            assert await one.get("page", key) is None
            assert await other.get_or_load("page", key, _theirs) == "theirs"
            assert await served(other, key) == "theirs"
            await give_up(one.set_many("page", {key: "new"}), turns)

            async def has_come(key: str = key) -> bool:
                return [await served(one, key), await served(other, key)] == ["new", "new"]

            await eventually(has_come, f"all have it, given up after {turns} turns", timeout=5)


async def _old() -> str:
    return "old"


async def _theirs() -> str:
    return "theirs"


async def test_a_shorter_life_is_told(redis_server: RedisServer, prefix: str) -> None:
    one, other = (make_manager(redis_server, prefix, page=NEAR) for _ in range(2))
    async with one, other:
        for turns in TURNS:
            key = f"k{turns}"
            await one.set("page", key, "v")
            assert (await served(one, key), await served(other, key)) == ("v", "v")
            await give_up(one.expire("page", key, 0.05), turns)
            name = one.keys.entry("page", key)
            if redis_server.client().pttl(name) > 1_000:
                continue  # it had not begun to change anything

            async def is_gone(key: str = key) -> bool:
                return await served(one, key) is None and await served(other, key) is None

            await eventually(is_gone, f"its time is over for all, given up after {turns} turns", timeout=5)
