"""Functions that write clear what was cached of what they change."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from stoker.core import Cache, ConfigError, Recipe, SyncCacheManager, UsageError, cached, invalidate_on_write
from tests.managers import make_config, make_manager
from tests.servers import RedisServer
from tests.stores import Dictionary

TIERS = pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"], ["memory"]])


def name_tags(name: str, user_id: int) -> list[str]:
    return [f"name:{name}"]


class Users:
    """A source, and functions that read and write it through a cache."""

    def __init__(self, view: Cache) -> None:
        self.rows = {1: "one", 2: "two"}
        self.reads: list[Any] = []
        self.fails = False

        @cached(view, "users", key_params=["user_id"])
        async def get_user(user_id: int, trace: str = "") -> str | None:
            self.reads.append(user_id)
            return self.rows.get(user_id)

        @cached(view, "users")
        async def count(above: int = 0) -> int:
            self.reads.append("count")
            return len([number for number in self.rows if number > above])

        @cached(view, "teams")
        async def get_team(team_id: int) -> int:
            self.reads.append("team")
            return team_id

        @invalidate_on_write(view, "users")
        async def write(user_id: int, name: str) -> str:
            """Write it."""
            self.rows[user_id] = name
            if self.fails:
                raise ConnectionError("after the commit")
            return "written"

        @invalidate_on_write(view, "users", key_params=["user_id"], tags=name_tags)
        async def write_one(name: str, user_id: int) -> None:
            self.rows[user_id] = name

        self.get_user, self.count, self.get_team = get_user, count, get_team
        self.write, self.write_one = write, write_one

    async def read_all(self) -> list[Any]:
        """Read everything; return what the source was asked for."""
        self.reads.clear()
        await asyncio.gather(self.get_user(1), self.get_user(2), self.count(), self.get_team(1))
        return sorted(map(str, self.reads))


@TIERS
async def test_a_write_clears_its_prefix_with_one_record(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": tiers}) as cache:
        users = Users(cache.cache("page"))
        assert await users.read_all() == ["1", "2", "count", "team"]
        assert await users.read_all() == []
        log = f"{prefix}:log"
        before = redis_server.client().xlen(log)
        assert await users.write(1, "new") == "written"
        assert redis_server.client().xlen(log) == before + 1
        assert await users.get_user(1) == "new"
        assert await users.read_all() == ["2", "count"]  # of another prefix nothing


async def test_a_write_that_raises_clears_too(redis_server: RedisServer, prefix: str) -> None:
    """Nobody knows whether it had changed the source before."""
    async with make_manager(redis_server, prefix, page={}) as cache:
        users = Users(cache.cache("page"))
        assert await users.get_user(1) == "one"
        users.fails = True
        with pytest.raises(ConnectionError, match="after the commit"):
            await users.write(1, "new")
        assert await users.get_user(1) == "new"


async def test_a_write_that_is_cancelled_clears_too(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        users, wrote = Users(cache.cache("page")), asyncio.Event()

        @invalidate_on_write(cache, "users", cache_type="page")
        async def write() -> None:
            users.rows[1] = "new"
            wrote.set()
            await asyncio.Event().wait()

        assert await users.get_user(1) == "one"
        task = asyncio.create_task(write())
        await wrote.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await users.get_user(1) == "new"


@TIERS
@pytest.mark.parametrize("key_params", [None, ["user_id"]])
async def test_a_load_that_began_before_the_write_is_not_served_after_it(
    redis_server: RedisServer, prefix: str, tiers: list[str], key_params: list[str] | None
) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": tiers}) as cache:
        rows, began, go_on = {1: "old"}, asyncio.Event(), asyncio.Event()

        @cached(cache, "users", cache_type="page")
        async def get_user(user_id: int) -> str:
            found = rows[user_id]
            began.set()
            await go_on.wait()
            return found

        @invalidate_on_write(cache, "users", cache_type="page", key_params=key_params)
        async def write(user_id: int) -> None:
            rows[user_id] = "new"

        slow = asyncio.create_task(get_user(1))
        await began.wait()
        await write(1)
        go_on.set()
        assert await slow == "old"
        assert await get_user(1) == "new"
        assert await get_user(1) == "new"


@TIERS
async def test_with_key_params_only_calls_with_these_arguments_are_cleared(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    async with make_manager(redis_server, prefix, page={"tiers": tiers}) as cache:
        users = Users(cache.cache("page", namespace="eu"))
        await cache.set("page", "by name", "x", tags=["name:new"])
        assert await users.get_user(3) is None  # that there is none is cached, too
        assert await users.read_all() == ["1", "2", "count", "team"]
        await users.write_one("new", 3)
        assert await users.get_user(3) == "new"
        assert await users.read_all() == []
        assert await cache.get("page", "by name") is None
        await users.write_one("newer", user_id=1)
        assert await users.get_user(1, trace="x") == "newer"
        assert await users.read_all() == []


async def test_what_warming_loads_is_cleared_by_arguments_too(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        users = Users(cache.cache("page"))
        await users.get_user(1)
        _, key, recipe = cache.access[-1]
        assert recipe is not None
        assert (await cache.reload("page", key, Recipe.unpack(recipe.pack()))).stored
        await users.write_one("new", 1)
        assert await users.get_user(1) == "new"


async def test_another_process_hears_of_a_write(redis_server: RedisServer, prefix: str) -> None:
    policy = {"tiers": ["redis"]}
    one, other = (make_manager(redis_server, prefix, page=policy) for _ in range(2))
    async with one, other:
        rows = {1: "old"}

        async def get_user(user_id: int) -> str:
            return rows[user_id]

        async def write(user_id: int) -> None:
            rows[user_id] = "new"

        read = cached(one, "users", cache_type="page")(get_user)
        assert await read(1) == "old"
        await invalidate_on_write(other, "users", cache_type="page", key_params=["user_id"])(write)(1)
        assert await read(1) == "new"


async def test_nothing_is_written_whose_results_cant_be_told(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        written: list[Any] = []

        @invalidate_on_write(cache, "users", cache_type="page", key_params=["user"])
        async def write(user: object) -> None:
            written.append(user)

        @invalidate_on_write(cache, "users", cache_type="page", tags=lambda user: [user.team])
        async def tagged(user: Any) -> None:
            written.append(user)

        with pytest.raises(UsageError, match=r"argument 'user' of .*write: a object can't be part of a key"):
            await write(object())
        with pytest.raises(AttributeError, match="team"):
            await tagged(object())
        assert not written


@pytest.mark.parametrize("tag", ["", "t" * 300, 1, "\ud800"])
async def test_nothing_is_written_with_a_tag_that_cant_be_told(
    redis_server: RedisServer, prefix: str, tag: Any
) -> None:
    """Told after the write, the source would have changed, and nothing would have been cleared."""
    async with make_manager(redis_server, prefix, page={}) as cache:
        users = Users(cache.cache("page"))

        @invalidate_on_write(cache, "users", cache_type="page", tags=lambda: [tag])
        async def write() -> None:
            users.rows[1] = "new"

        assert await users.get_user(1) == "one"
        with pytest.raises(UsageError, match="a tag"):
            await write()
        assert (users.rows[1], await users.get_user(1)) == ("one", "one")
        with pytest.raises(UsageError, match="a tag"):
            invalidate_on_write(cache, "users", cache_type="page", tags=[tag])


def test_a_plain_function_does_not_write_with_a_tag_that_cant_be_told(
    redis_server: RedisServer, prefix: str
) -> None:
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as cache:
        rows = {1: "old"}

        @invalidate_on_write(cache, "users", cache_type="page", tags=lambda: "news")
        def write() -> None:
            rows[1] = "new"

        with pytest.raises(UsageError, match=r"tags are several texts: write \['news'\] for one"):
            write()
        assert rows == {1: "old"}


async def test_a_plain_function_does_not_write_where_an_event_loop_runs(
    redis_server: RedisServer, prefix: str
) -> None:
    """Its thread must not wait for the cache: the source would have changed, and nothing would be cleared."""
    face, rows = SyncCacheManager(make_config(redis_server, prefix, page={})), {1: "old"}

    @invalidate_on_write(face.cache("page"), "users")
    def write(name: str) -> None:
        rows[1] = name

    with pytest.raises(UsageError, match="an event loop runs in this thread"):
        write("new")
    assert rows[1] == "old"
    await asyncio.to_thread(write, "newer")
    assert rows[1] == "newer"
    await asyncio.to_thread(face.close)


def test_a_plain_function_does_not_write_where_the_cache_cant_be_opened(
    own_redis_server: RedisServer, prefix: str
) -> None:
    client, rows = own_redis_server.client(), {1: "old"}
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    face = SyncCacheManager(make_config(own_redis_server, prefix, page={}))

    @invalidate_on_write(face, "users", cache_type="page")
    def write(name: str) -> None:
        rows[1] = name

    with pytest.raises(ConfigError, match="may evict the invalidation log"):
        write("new")
    assert rows[1] == "old"
    client.config_set("maxmemory-policy", "noeviction")
    write("new")
    assert rows[1] == "new"
    face.close()


async def test_nothing_is_written_on_another_event_loop(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        users = Users(cache.cache("page"))

        def elsewhere() -> None:
            with pytest.raises(UsageError, match="another event loop"):
                asyncio.run(users.write(1, "new"))

        await asyncio.to_thread(elsewhere)
        assert users.rows[1] == "one"


async def test_it_keeps_the_function_as_it_was(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={}) as cache:
        write = Users(cache.cache("page")).write
        assert inspect.iscoroutinefunction(write)
        assert (write.__name__, write.__doc__) == ("write", "Write it.")
        assert list(inspect.signature(write).parameters) == ["user_id", "name"]


async def test_what_makes_no_sense_is_refused(redis_server: RedisServer, prefix: str) -> None:
    decorate: Any = invalidate_on_write

    async def write(n: int) -> None: ...

    def plain(n: int) -> None: ...

    async with make_manager(redis_server, prefix, page={}) as cache:
        view = cache.cache("page")
        cases: list[tuple[Callable[[], Any], str]] = [
            (lambda: decorate(cache, "users"), "@invalidate_on_write needs a cache type"),
            (lambda: decorate(cache, "users", cache_type="nobody"), "no cache type"),
            (lambda: decorate(cache, 5, cache_type="page"), "a prefix is a str"),
            (
                lambda: decorate(view, "users", key_params=["x"])(write),
                "no parameter 'x'",
            ),
            (lambda: decorate(view, "users", tags="x")(write), "tags are several texts"),
            (lambda: decorate(view, "users", tags=None)(write), "tags are several texts, not NoneType"),
            (lambda: decorate(view, "users", key_params="n")(write), "names in key_params are several texts"),
            (
                lambda: decorate(cache.cache("page", namespace="*" * 300), "users")(write),
                "a pattern has 1 to 512 characters",
            ),
            (lambda: decorate(view, "", key_params=["n"])(write), "key_params needs a prefix"),
            (lambda: decorate(view, "ä" * 51), "a namespace has at most 100 bytes, not 102"),
            (lambda: decorate(cache, "users", cache_type="page")(plain), "plain is a plain function"),
            (lambda: decorate(SyncCacheManager(), "users", cache_type="session")(write), "write is async"),
        ]
        for call, message in cases:
            with pytest.raises(UsageError, match=message):
                call()


async def test_a_store_of_ones_own_is_cleared() -> None:
    store, rows = Dictionary(), {1: "old"}

    @cached(store, "users")
    async def get_user(user_id: int) -> str:
        return rows[user_id]

    @invalidate_on_write(store, "users", key_params=["user_id"])
    async def write(user_id: int) -> None:
        rows[user_id] = "new"

    assert await get_user(1) == "old"
    await write(1)
    assert await get_user(1) == "new"


def test_plain_functions_write_through_a_sync_cache(redis_server: RedisServer, prefix: str) -> None:
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as cache:
        rows, view = {1: "old", 2: "two"}, cache.cache("page", namespace="eu")
        reads: list[int] = []

        @cached(view, "users")
        def get_user(user_id: int) -> str:
            reads.append(user_id)
            return rows[user_id]

        @invalidate_on_write(view, "users", key_params=["user_id"])
        def write(user_id: int, name: str) -> None:
            rows[user_id] = name
            if not name:
                raise ValueError("no name")

        @invalidate_on_write(view, "users")
        def write_all() -> None:
            rows.update({1: "all", 2: "all"})

        assert [get_user(1), get_user(2)] == ["old", "two"]
        write(1, "new")
        assert [get_user(1), get_user(2), reads] == ["new", "two", [1, 2, 1]]
        with pytest.raises(ValueError, match="no name"):
            write(1, "")
        assert get_user(1) == ""
        write_all()
        assert [get_user(1), get_user(2)] == ["all", "all"]
