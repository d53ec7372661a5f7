"""What users of the Redis Cache component wrote, over Stoker: the same names, the same answers."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel

from stoker.core import (
    CacheConfig,
    CacheStats,
    RedisCache,
    cached,
    close_default_cache,
    generate_cache_key,
    get_default_cache,
    init_default_cache,
    invalidate_on_write,
)
from tests.managers import PATIENT
from tests.servers import RedisServer

logger = logging.getLogger(__name__)


class Database:
    """Stands for the users' own."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {1: {"name": "John"}, 2: {"name": "Jane"}}
        self.reads: list[int] = []

    async def get_user(self, user_id: int) -> dict[str, Any]:
        self.reads.append(user_id)
        return dict(self.rows[user_id])

    async def update_user(self, user_id: int, data: dict[str, Any]) -> dict[str, Any]:
        self.rows[user_id] |= data
        return self.rows[user_id]


def config_of(server: RedisServer, prefix: str) -> CacheConfig:
    """`RedisCacheConfig(url=…, default_ttl=300, max_connections=50, key_prefix="myapp")`."""
    return CacheConfig(
        url=server.url, default_ttl=300, max_connections=50, key_prefix=prefix, redis={**PATIENT}
    )


async def test_basic_usage(redis_server: RedisServer, prefix: str) -> None:
    cache = RedisCache(config_of(redis_server, prefix))
    await cache.connect()

    await cache.set("user:123", {"name": "John", "email": "john@example.com"})
    user = await cache.get("user:123")
    assert user == {"name": "John", "email": "john@example.com"}

    await cache.delete("user:123")
    assert await cache.get("user:123") is None

    await cache.set_many({"user:1": 1, "user:2": 2, "other": 3})
    await cache.invalidate("user:*")
    assert await cache.get_many(["user:1", "user:2", "other"]) == {"other": 3}

    stats = await cache.get_stats()
    assert f"Hit rate: {stats['hit_rate']:.1%}" == "Hit rate: 40.0%"  # a fraction, theirs were percents
    await cache.close()


async def test_context_manager(redis_server: RedisServer, prefix: str) -> None:
    async with RedisCache(config_of(redis_server, prefix)) as cache:
        await cache.set("key", "value")
        result = await cache.get("key")
    assert result == "value"


async def test_decorators(redis_server: RedisServer, prefix: str) -> None:
    cache, db = RedisCache(config_of(redis_server, prefix)), Database()
    await cache.connect()

    @cached(cache, "users", ttl=600, key_params=["user_id"])
    async def get_user(user_id: int, include_details: bool = False) -> dict[str, Any]:
        """Only user_id affects cache key, not include_details."""
        return await db.get_user(user_id)

    @invalidate_on_write(cache, "users")
    async def update_user(user_id: int, data: dict[str, Any]) -> dict[str, Any]:
        """Clears all users:* cache entries after update."""
        return await db.update_user(user_id, data)

    assert await get_user(1) == await get_user(1, include_details=True) == {"name": "John"}
    assert await get_user(2) == {"name": "Jane"}
    assert db.reads == [1, 2]
    assert get_user.key(1).startswith("users:")
    assert await update_user(1, {"name": "Joan"}) == {"name": "Joan"}
    assert [await get_user(1), await get_user(2)] == [{"name": "Joan"}, {"name": "Jane"}]
    assert db.reads == [1, 2, 1, 2]
    await cache.close()


class UserUpdate(BaseModel):
    name: str


async def test_fastapi_integration(redis_server: RedisServer, prefix: str) -> None:
    cache, db = RedisCache(config_of(redis_server, prefix)), Database()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        await cache.connect()
        yield
        await cache.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/users/{user_id}")
    @cached(cache, "users", ttl=300, key_params=["user_id"])
    async def get_user(user_id: int) -> dict[str, Any]:
        return await db.get_user(user_id)

    @app.put("/users/{user_id}")
    @invalidate_on_write(cache, "users")
    async def update_user(user_id: int, data: UserUpdate) -> dict[str, Any]:
        return await db.update_user(user_id, data.model_dump())

    @app.get("/cache/stats")
    async def get_cache_stats() -> CacheStats:
        return await cache.get_stats()

    client = AsyncClient(transport=ASGITransport(app), base_url="http://app")
    async with app.router.lifespan_context(app), client:
        assert [(await client.get("/users/1")).json() for _ in range(2)] == [{"name": "John"}] * 2
        assert (await client.put("/users/1", json={"name": "Joan"})).json() == {"name": "Joan"}
        assert (await client.get("/users/1")).json() == {"name": "Joan"}
        assert db.reads == [1, 1]
        stats = (await client.get("/cache/stats")).json()
        assert (stats["hits"], stats["misses"], stats["hit_rate"]) == (1, 2, pytest.approx(1 / 3))


def test_every_setting_has_its_place() -> None:
    config = CacheConfig(
        url="redis://localhost:6379",
        max_connections=50,
        socket_timeout=5.0,
        socket_keepalive=True,
        default_ttl=300,
        encoding="utf-8",
        decode_responses=True,
        key_prefix="",
    )
    assert config.redis.url == "redis://localhost:6379"
    assert (config.redis.max_connections, config.redis.timeout, config.redis.keepalive) == (50, 5.0, True)
    assert (config.default_ttl, config.prefix) == (300, "stoker")


async def test_every_method_is_there(redis_server: RedisServer, prefix: str) -> None:
    async with RedisCache(config_of(redis_server, prefix)) as cache:
        assert await cache.set("k", "v", 60)
        assert await cache.exists("k")
        left = await cache.get_ttl("k")
        assert left is not None
        assert 50 < left <= 60
        assert await cache.invalidate("k*") == 1
        assert not await cache.exists("k")


async def test_the_module_level_cache(redis_server: RedisServer, prefix: str) -> None:
    await init_default_cache(config_of(redis_server, prefix))
    cache = get_default_cache().cache("session")
    assert await cache.set("k", "v")
    assert await cache.get("k") == "v"

    @cached(ttl=60, namespace="users")
    async def get_user(user_id: int) -> int:
        return user_id

    assert await get_user(1) == 1
    assert get_default_cache().counters.of("cache").misses == 1
    await close_default_cache()


def test_cache_keys() -> None:
    key1 = generate_cache_key("tasks", user_id=1, status="active")
    key2 = generate_cache_key("tasks", status="active", user_id=1)
    assert key1 == key2
    assert key1.startswith("tasks:")
    assert len(key1) == len("tasks:") + 32
    assert key1 != generate_cache_key("tasks", user_id="1", status="active")
    assert key1 != generate_cache_key("tasks", user_id=1, status="active", prefix="tasks")


async def test_errors_are_answers(own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    config = CacheConfig(url=own_redis_server.url, socket_timeout=0.2, socket_connect_timeout=0.2)
    async with RedisCache(config) as cache:
        assert await cache.set("key", "value")
        own_redis_server.kill()

        result = await cache.get("key")
        assert result is None

        success = await cache.set("key", "value")
        assert success is False

        deleted = await cache.invalidate("pattern:*")
        assert deleted == 0

        stats = await cache.get_stats()
        assert "error" in stats
        if "error" in stats:
            logger.error(f"Cache error: {stats['error']}")  # noqa: G004  as they wrote it
        assert any(record.message.startswith("Cache error: ") for record in caplog.records)


async def test_set_get_in_a_users_test(redis_server: RedisServer, prefix: str) -> None:
    """Their fixture: connected before, cleaned up and closed after."""
    cache = RedisCache(config_of(redis_server, prefix))
    await cache.connect()
    await cache.set("test_key", {"foo": "bar"})
    result = await cache.get("test_key")
    assert result == {"foo": "bar"}
    assert await cache.invalidate("*") == 1
    await cache.close()
