"""A loader that waits for its own load is told so at once."""

from __future__ import annotations

import pytest

from stoker.core import UsageError
from tests.managers import make_manager
from tests.servers import RedisServer


async def test_a_loader_that_reads_its_own_key_is_told(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:

        async def one() -> int:
            return await cache.get_or_load("db_query", "two", two)

        async def two() -> int:
            return await cache.get_or_load("db_query", "one", one)

        with pytest.raises(UsageError, match="the loader of db_query:one waits for that very load"):
            await cache.get_or_load("db_query", "one", one)


async def test_loaders_may_load_other_keys_and_the_same_key_of_another_cache(
    redis_server: RedisServer, prefix: str
) -> None:
    async with (
        make_manager(redis_server, prefix) as cache,
        make_manager(redis_server, f"{prefix}b") as other,
    ):

        async def leaf() -> int:
            return 1

        async def inner() -> int:
            return await other.get_or_load("db_query", "k", leaf)

        async def outer() -> int:
            assert await cache.get("db_query", "k") is None
            return await cache.get_or_load("db_query", "inner", inner)

        assert await cache.get_or_load("db_query", "k", outer) == 1
        assert await cache.get_or_load("db_query", "k", outer) == 1
