"""The service: `python -m uvicorn examples.service.app:app`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request

from examples.service.database import Database, User, UserUpdate
from stoker.core import CacheConfig, CacheManager, CacheStats, cached, invalidate_on_write, load_config

cache = CacheManager(load_config(CacheConfig).value)  # $REDIS_URL, or stoker.yaml
users = cache.cache("db_query")
database = Database()


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None, None]:
    """Connect the cache, and close it with the service."""
    async with cache:
        yield


app = FastAPI(title="Stoker's example service", lifespan=lifespan)


def database_of() -> Database:
    """What endpoints depend on."""
    return database


Db = Annotated[Database, Depends(database_of)]


@app.get("/users/{user_id}")
@cached(users, "users", ttl=300, key_params=["user_id"])
async def get_user(user_id: int, db: Db, request: Request) -> User:
    """One user. Neither the database nor the request tells calls apart."""
    user = await db.find(user_id)
    if user is None:
        raise HTTPException(404, f"no user {user_id} (asked for {request.url.path})")
    return user


@app.get("/teams/{team}")
@cached(users, "teams", ttl=300, ignore=["db"], tags=lambda members: [f"user:{user.id}" for user in members])
async def get_team(team: str, db: Db, newest_first: bool = False) -> list[User]:
    """The users of a team; who is among them can be told by their tags."""
    return sorted(await db.members(team), key=lambda user: user.id, reverse=newest_first)


def teams_of(user_id: int, data: UserUpdate, db: Database) -> list[str]:  # noqa: ARG001
    """What depends on a user beside the user's own page: every team that shows them."""
    return [f"user:{user_id}"]


@app.put("/users/{user_id}")
@invalidate_on_write(users, "users", key_params=["user_id"], tags=teams_of)
async def update_user(user_id: int, data: UserUpdate, db: Db) -> User:
    """Change a user; what was cached of them, alone and in teams, is gone with one command."""
    user = await db.rename(user_id, data.name)
    if user is None:
        raise HTTPException(404, f"no user {user_id}")
    return user


@app.get("/cache/stats")
async def get_cache_stats() -> CacheStats:
    """What the cache did, and holds."""
    return await users.get_stats()
