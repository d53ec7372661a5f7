"""For type checkers alone: decorated functions keep their signatures, reads have the types asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, assert_type

from stoker.core import (
    NOT_MODIFIED,
    Cache,
    CacheBackend,
    CacheConfig,
    CachedFunction,
    CacheInterface,
    CacheManager,
    NotModified,
    Receipt,
    RedisCache,
    SyncCache,
    SyncCachedFunction,
    SyncCacheManager,
    cached,
    close_default_cache,
    generate_cache_key,
    get_default_cache,
    init_default_cache,
    invalidate_on_write,
)


@dataclass
class User:
    id: int


@cached(ttl=3600, namespace="api", backend="memory")
async def get_user(user_id: int, /, name: str = "", *rest: int, full: bool = False) -> User:
    return User(user_id)


@cached(backend=CacheBackend.REDIS, redis_host="localhost")
def get_plain(user_id: int, *, full: bool = False) -> User:
    return User(user_id)


@cached(ttl=60, config=CacheConfig())
async def get_changed(url: str) -> str | NotModified | None:
    return NOT_MODIFIED


async def find(number: int, /) -> User | None:
    return None


def load_plain_one(number: int, /) -> User:
    return User(number)


async def check_functions() -> None:
    assert_type(await get_user(1), User)
    assert_type(await get_user(1, "x", 2, 3, full=True), User)
    assert_type(get_user.key(1, full=True), str)
    assert_type(await get_user.invalidate(1), Receipt)
    assert_type(await get_user.invalidate_all(), Receipt)
    assert_type(await get_changed("/"), str | None)
    assert_type(get_plain(1, full=True), User)
    assert_type(get_plain.key(1), str)
    assert_type(get_plain.invalidate(1), Receipt)
    assert_type(get_plain.invalidate_all(), Receipt)
    await get_user(user_id=1)  # type: ignore[call-arg]  # pyright: ignore
    await get_user("1")  # type: ignore[arg-type]  # pyright: ignore
    await get_user(1, full="yes")  # type: ignore[arg-type]  # pyright: ignore
    await get_user()  # type: ignore[call-arg]  # pyright: ignore
    get_user.key("1")  # type: ignore[arg-type]  # pyright: ignore
    await get_user.invalidate(1, fuller=True)  # type: ignore[call-arg]  # pyright: ignore
    get_plain(1, True)  # type: ignore[call-arg]  # pyright: ignore  # noqa: FBT003


async def check_places(
    manager: CacheManager, view: Cache, store: CacheInterface, own: RedisCache, face: SyncCacheManager
) -> None:
    @cached(manager, "users", cache_type="session", ttl=600, key_params=["user_id"])
    async def one(user_id: int, include_details: bool = False) -> list[User]:
        return [User(user_id)]

    @cached(view, "users", ignore=["trace"], tags=lambda user: [f"user:{user.id}"], version=2)
    async def two(user_id: int, trace: object) -> User:
        return User(user_id)

    @cached(store, "users")
    async def three(user_id: int) -> User | None:
        return None

    @cached(cache=own)
    async def four() -> dict[str, User]:
        return {}

    @cached(face, "users", cache_type="session")
    def five(user_id: int) -> User:
        return User(user_id)

    @cached(face.cache("session"))
    def six(user_id: int) -> tuple[User, ...]:
        return ()

    assert_type(await one(1, include_details=True), list[User])
    assert_type(await two(1, None), User)
    assert_type(await three(1), User | None)
    assert_type(await four(), dict[str, User])
    assert_type(five(1), User)
    assert_type(six(1), tuple[User, ...])
    names: CachedFunction[[int], User | None] = cached(store)(find)
    assert_type(names.key(1), str)
    assert_type(six.invalidate(1), Receipt)
    five("1")  # type: ignore[arg-type]  # pyright: ignore


@dataclass
class Reader:
    name: str

    @cached(backend="memory")
    async def read(self, number: int, *, full: bool = False) -> User:
        return User(number)

    @cached(backend="memory")
    def read_plain(self, number: int) -> User:
        return User(number)


class OtherReader(Reader):
    # A checker sees an attribute where a cached method is.
    async def read(self, number: int, *, full: bool = False) -> User:  # type: ignore[override]  # pyright: ignore
        return User(number)


class Finds(Protocol):
    async def find(self, number: int) -> User: ...


class Finder:
    async def find(self, number: int) -> User:
        return await self._found(number)

    @cached(backend="memory", ignore=["self"])
    async def _found(self, number: int) -> User:
        return User(number)


class OtherFinder(Finder):
    async def find(self, number: int) -> User:
        return await super().find(number + 1)


FINDERS: list[Finds] = [Finder(), OtherFinder()]


async def check_methods(reader: Reader) -> None:
    assert_type(await reader.read(1, full=True), User)
    assert_type(reader.read.key(1), str)
    assert_type(await reader.read.invalidate(1), Receipt)
    assert_type(await Reader.read(reader, 1), User)
    assert_type(reader.read_plain(1), User)
    plain: SyncCachedFunction[[int], User] = cached(backend="memory")(load_plain_one)
    assert_type(plain(1), User)
    await reader.read("1")  # type: ignore[arg-type]  # pyright: ignore
    reader.read_plain()  # type: ignore[call-arg]  # pyright: ignore


async def check_writes(manager: CacheManager, face: SyncCacheManager) -> None:
    @invalidate_on_write(manager, "users", cache_type="session", key_params=["user_id"])
    async def write(user_id: int, *, name: str) -> User:
        return User(user_id)

    @invalidate_on_write(face, "users", cache_type="session", tags=["users"])
    def write_plain(user_id: int) -> None: ...

    assert_type(await write(1, name="x"), User)
    await write(1)  # type: ignore[call-arg]  # pyright: ignore
    write_plain("1")  # type: ignore[arg-type]  # pyright: ignore


async def check_reads(manager: CacheManager, view: Cache, store: CacheInterface) -> None:
    assert_type(await manager.get("session", "k", into=User), User | None)
    assert_type(await manager.get("session", "k", 5, into=User), User | int)
    assert_type(await manager.get("session", "k", 5, into=User, track_stats=False), User | int)
    assert_type(await manager.get("session", "k", into=list[User]), list[User] | None)
    assert_type(await manager.get("session", "k"), Any)
    assert_type(await manager.get("session", "k", into=int | str), Any)
    assert_type(await manager.get_many("session", ["k"], into=User), dict[str, User])
    assert_type(await manager.get_many("session", ["k"]), dict[str, Any])
    for cache in (view, store):
        assert_type(await cache.get("k", into=User), User | None)
        assert_type(await cache.get("k", "none", into=User, track_stats=False), User | str)
        assert_type(await cache.get("k"), Any)
        assert_type(await cache.get_many(["k"], into=User), dict[str, User])


def load_plain(number: int) -> User:
    return User(number)


async def load(number: int) -> User | NotModified:
    return User(number)


def load_all(keys: list[str]) -> dict[str, User]:
    return {}


def check_sync(face: SyncCacheManager, view: SyncCache) -> None:
    assert_type(face.cache("session"), SyncCache)
    assert_type(face.get("session", "k", into=User), User | None)
    assert_type(face.get("session", "k", 5, into=User), User | int)
    assert_type(face.get("session", "k", into=User, track_stats=False), User | None)
    assert_type(face.get("session", "k"), Any)
    assert_type(view.get("k", into=User), User | None)
    assert_type(view.get_many(["k"], into=User), dict[str, User])
    assert_type(face.set("session", "k", 1, ttl=5, tags=["t"]), bool)
    assert_type(view.set("k", 1, if_absent=True), bool)
    assert_type(face.delete("session", "k"), int)
    assert_type(face.increment("session", "k"), int | None)
    assert_type(face.ttl("session", "k"), float | None)
    assert_type(face.invalidate_type("session"), Receipt)
    assert_type(face.get_or_load("session", "k", load_plain, 1), User)
    assert_type(face.get_or_load("session", "k", load, 1), User)
    assert_type(view.get_or_load("k", load_plain, 1), User)
    assert_type(face.read("session", "k", load, 1).value, User)
    assert_type(face.get_or_load_many("session", ["k"], load_all), dict[str, User])
    face.set("session")  # type: ignore[call-arg]  # pyright: ignore
    face.get_or_load("session", "k", load_plain, "1")  # type: ignore[call-overload]  # pyright: ignore
    with face.write_through("session", "k") as write:
        assert_type(write.stored, bool)
    with view.write_through("k") as write:
        assert_type(write.receipt, Receipt)


async def check_default() -> None:
    assert_type(await init_default_cache({"redis_url": "redis://x"}), CacheManager)
    assert_type(get_default_cache(), CacheManager)
    assert_type(await close_default_cache(), None)
    assert_type(generate_cache_key("tasks", user_id=1), str)
