"""Endpoints of FastAPI whose results are cached, by real requests and on a real server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import Body, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.routing import APIRoute
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel

from stoker.core import (
    CacheManager,
    CacheStats,
    SyncCacheManager,
    UsageError,
    cached,
    close_default_cache,
    get_default_cache,
    init_default_cache,
    invalidate_on_write,
)
from tests.managers import make_config, make_manager
from tests.servers import RedisServer


class UserUpdate(BaseModel):
    name: str
    limits: dict[str, int] = {}


class User(BaseModel):
    id: int
    name: str
    balance: Decimal = Decimal("1.50")
    since: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    key: UUID = UUID(int=7)


@dataclass
class Paging:
    """A dependency's result that says what it is by its fields."""

    page: int = 1
    size: int = 10


class Session:
    """A dependency's result that nothing identifies."""


def paging(page: int = 1, size: int = 10) -> Paging:
    return Paging(page, size)


async def session() -> AsyncIterator[Session]:
    yield Session()


class Service:
    """An application, and what its endpoints were called with."""

    def __init__(self, cache: CacheManager, face: SyncCacheManager) -> None:
        self.calls: list[Any] = []
        self.names = {1: "Ann", 2: "Ben"}
        self.cache = cache

        @contextlib.asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
            async with cache:
                yield

        self.app = app = FastAPI(lifespan=lifespan)
        users = cache.cache("page")

        @app.get("/users/{user_id}")
        @cached(users, "users", ttl=300, key_params=["user_id"])
        async def get_user(user_id: int, db: Annotated[Session, Depends(session)]) -> User:
            """One user."""
            assert isinstance(db, Session)
            self.calls.append(user_id)
            if user_id not in self.names:
                raise HTTPException(404, "no such user")
            return User(id=user_id, name=self.names[user_id])

        @app.get("/users", response_model=list[User], tags=["users"])
        @cached(users, "users", ignore=["request", "response", "db"])
        async def list_users(
            request: Request,
            response: Response,
            paged: Annotated[Paging, Depends(paging)],
            db: Annotated[Session, Depends(session)],
            q: Annotated[list[str] | None, Query()] = None,
            lang: Annotated[str, Header()] = "en",
        ) -> list[User]:
            self.calls.append((paged.page, q, lang))
            response.headers["X-Loaded"] = str(request.url.path)
            return [User(id=number, name=name) for number, name in self.names.items()]

        @app.put("/users/{user_id}")
        @invalidate_on_write(users, "users", key_params=["user_id"])
        async def update_user(user_id: int, data: UserUpdate) -> User:
            if data.name == "nobody":
                raise HTTPException(422, "that is no name")
            self.names[user_id] = data.name
            return User(id=user_id, name=data.name)

        @app.post("/search")
        @cached(users)
        async def search(update: UserUpdate, extra: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
            self.calls.append((update.name, extra))
            return {"found": update.name}

        @app.get("/plain/{number}")
        @cached(face, cache_type="page")
        def plain(number: int, full: bool = False) -> dict[str, int]:
            self.calls.append(("plain", number, full))
            return {"number": number}

        @app.get("/unkeyed")
        @cached(users)
        async def unkeyed(request: Request) -> int:
            return 1

        @app.get("/cache/stats")
        async def stats() -> CacheStats:
            return await users.get_stats()

        self.update_user = update_user


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncGenerator[AsyncClient]:
    """The application between its start and its end, and a client of it."""
    client = AsyncClient(transport=ASGITransport(app), base_url="http://shop")
    async with app.router.lifespan_context(app), client:
        yield client


@pytest.fixture
def service(redis_server: RedisServer, prefix: str) -> Iterator[Service]:
    face = SyncCacheManager(make_config(redis_server, prefix, page={"ttl": 60}))
    yield Service(make_manager(redis_server, prefix, page={"ttl": 60}), face)
    face.close()


async def test_a_path_parameter_tells_calls_apart_and_a_dependency_does_not(service: Service) -> None:
    async with serving(service.app) as client:
        answers = [(await client.get(f"/users/{number}")).json() for number in (1, 1, 2)]
        assert (
            answers[0]
            == answers[1]
            == {
                "id": 1,
                "name": "Ann",
                "balance": "1.50",
                "since": "2026-01-02T00:00:00Z",
                "key": str(UUID(int=7)),
            }
        )
        assert answers[2]["name"] == "Ben"
        assert service.calls == [1, 2]


async def test_query_header_and_what_dependencies_found_tell_calls_apart(service: Service) -> None:
    async with serving(service.app) as client:
        for url, headers in (
            ("/users", {}),
            ("/users?page=1", {}),
            ("/users?page=2", {}),
            ("/users?q=a&q=b", {}),
            ("/users?q=a,b", {}),
            ("/users", {"lang": "de"}),
        ):
            for _ in range(2):
                assert (await client.get(url, headers=headers)).status_code == 200
        assert service.calls == [
            (1, None, "en"),
            (2, None, "en"),
            (1, ["a", "b"], "en"),
            (1, ["a,b"], "en"),
            (1, None, "de"),
        ]


async def test_what_is_set_beside_the_result_is_not_part_of_it(service: Service) -> None:
    async with serving(service.app) as client:
        assert (await client.get("/users")).headers["X-Loaded"] == "/users"
        assert "X-Loaded" not in (await client.get("/users")).headers  # a hit calls nothing that could set it


async def test_errors_are_answers_and_are_not_kept(service: Service) -> None:
    async with serving(service.app) as client:
        assert [(await client.get("/users/3")).status_code for _ in range(2)] == [404, 404]
        assert service.calls == [3, 3]
        service.names[3] = "Cid"
        assert (await client.get("/users/3")).json()["name"] == "Cid"
        assert (await client.get("/users/x")).status_code == 422


async def test_a_write_clears_what_it_changed(service: Service) -> None:
    async with serving(service.app) as client:
        for number in (1, 2):
            await client.get(f"/users/{number}")
        assert (await client.put("/users/1", json={"name": "Ada"})).json()["name"] == "Ada"
        assert (await client.get("/users/1")).json()["name"] == "Ada"
        assert (await client.get("/users/2")).json()["name"] == "Ben"
        assert (await client.put("/users/1", json={"name": "nobody"})).status_code == 422
        assert (await client.get("/users/1")).json()["name"] == "Ada"
        assert service.calls == [1, 2, 1, 1]


async def test_bodies_tell_calls_apart_by_what_they_hold(service: Service) -> None:
    async with serving(service.app) as client:
        bodies: list[dict[str, Any]] = [
            {"update": {"name": "a", "limits": {"x": 1, "y": 2}}, "extra": {"k": [1]}},
            {"update": {"limits": {"y": 2, "x": 1}, "name": "a"}, "extra": {"k": [1]}},
            {"update": {"name": "a", "limits": {"x": 2, "y": 1}}, "extra": {"k": [1]}},
            {"update": {"name": "a", "limits": {"x": 1, "y": 2}}, "extra": {"k": ["1"]}},
        ]
        assert [(await client.post("/search", json=body)).json() for body in bodies] == [{"found": "a"}] * 4
        assert len(service.calls) == 3


async def test_plain_endpoints_are_cached_in_their_threads(service: Service) -> None:
    async with serving(service.app) as client:
        for _ in range(2):
            assert (await client.get("/plain/1")).json() == {"number": 1}
            assert (await client.get("/plain/1?full=true")).json() == {"number": 1}
        assert service.calls == [("plain", 1, False), ("plain", 1, True)]


async def test_a_request_among_the_arguments_is_refused_by_name(service: Service) -> None:
    async with serving(service.app) as client:
        with pytest.raises(UsageError, match=r"argument 'request' of .*unkeyed: a Request can't be part"):
            await client.get("/unkeyed")


async def test_statistics_are_an_answer(service: Service) -> None:
    async with serving(service.app) as client:
        for _ in range(3):
            await client.get("/users/1")
        stats = (await client.get("/cache/stats")).json()
        assert (stats["hits"], stats["misses"], stats["connected"]) == (2, 1, True)


def test_the_documentation_is_what_it_was_without_a_cache(service: Service) -> None:
    bare = FastAPI()
    for route in service.app.routes:
        if isinstance(route, APIRoute):
            bare.add_api_route(
                route.path,
                getattr(route.endpoint, "__wrapped__", route.endpoint),
                methods=list(route.methods or ()),
                response_model=route.response_model,
                tags=route.tags,
            )
    assert len(bare.routes) == len(service.app.routes)
    assert service.app.openapi() == bare.openapi()
    assert service.app.openapi()["paths"]["/users/{user_id}"]["get"]["summary"] == "Get User"
    assert service.app.openapi()["paths"]["/users/{user_id}"]["get"]["description"] == "One user."


async def test_above_the_route_a_cache_has_no_effect(redis_server: RedisServer, prefix: str) -> None:
    """FastAPI hands requests to what stood below `@app.get`: the cache's decorator goes there."""
    cache, calls = make_manager(redis_server, prefix, page={}), list[int]()
    app = FastAPI()

    @cached(cache, cache_type="page")
    @app.get("/above/{number}")
    async def above(number: int) -> int:
        calls.append(number)
        return number

    @app.get("/below/{number}")
    @cached(cache, cache_type="page")
    async def below(number: int) -> int:
        calls.append(number)
        return number

    async with cache, serving(app) as client:
        assert [(await client.get("/above/1")).json() for _ in range(2)] == [1, 1]
        assert calls == [1, 1]
        assert [(await client.get("/below/2")).json() for _ in range(2)] == [2, 2]
        assert calls == [1, 1, 2]


async def test_the_default_cache_lives_as_long_as_the_application(
    redis_server: RedisServer, prefix: str
) -> None:
    config, calls = make_config(redis_server, prefix, page={}), list[int]()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await init_default_cache(config)
        yield
        await close_default_cache()

    app = FastAPI(lifespan=lifespan)

    @app.get("/items/{number}")
    @cached(ttl=60, namespace="items")
    async def item(number: int) -> int:
        calls.append(number)
        return number

    @app.get("/cache/stats")
    async def stats() -> CacheStats:
        return await get_default_cache().get_stats()

    for _ in range(2):  # the application is started twice
        async with serving(app) as client:
            assert [(await client.get("/items/1")).json() for _ in range(2)] == [1, 1]
            assert (await client.get("/cache/stats")).json()["hits"] >= 1
    assert calls == [1]
