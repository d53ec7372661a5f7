"""What is kept of a call's arguments, and how its results are found again by them."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import pytest

from stoker.core import (
    ConfigError,
    MemoryCache,
    Recipe,
    SyncCacheManager,
    UsageError,
    cached,
    close_default_cache,
    invalidate_on_write,
)
from stoker.core.decorators.arguments import ArgumentDigest
from tests.managers import make_config, make_manager
from tests.servers import RedisServer
from tests.stores import Dictionary

SECRET = "s3cr3t-token"
NUMBER = UUID("01234567-89ab-cdef-0123-456789abcdef")


async def test_nothing_is_kept_of_a_call_that_gives_what_doesnt_count(
    redis_server: RedisServer, prefix: str
) -> None:
    manager = make_manager(redis_server, prefix, recording=True, page={})
    async with manager as cache:

        @cached(cache, "login", cache_type="page", ignore=["token"])
        async def login(user: str, token: str = "") -> str:
            return user

        @cached(cache, "named", cache_type="page", key_params=["user"])
        async def named(user: str, *, token: str = "") -> str:
            return user

        for _ in range(3):
            await login("ann", SECRET)
            await login("bob", token=SECRET)
            await named("cid", token=SECRET)
            await login("dora")
        kept = {key: recipe for _, key, recipe in cache.access}
        assert kept == {
            login.key("ann"): None,
            login.key("bob"): None,
            named.key("cid"): None,
            login.key("dora"): Recipe(login.key("dora").rpartition(":")[0], ("dora",)),
        }
    client = redis_server.client()
    there = [key for key in client.keys(f"{prefix}:*") if client.type(key) != b"none"]
    assert there  # what was counted is handed over when the manager is closed
    assert not [key for key in there if SECRET.encode() in client.dump(key)]


def f_all(user: int, /, token: str = "", *more: int, flag: bool = False, **others: int) -> None: ...


@pytest.mark.parametrize(
    ("ignored", "whole", "not_whole"),
    [
        ([], [((1, "t", 2), {"flag": True, "x": 1})], []),
        (["token"], [((1,), {"flag": True, "x": 1})], [((1, "t"), {}), ((1,), {"token": "t"})]),
        (["more"], [((1, "t"), {"x": 1})], [((1, "t", 2), {})]),
        (["flag"], [((1, "t", 2), {"x": 1})], [((1,), {"flag": True})]),
        (["others"], [((1, "t", 2), {"flag": True})], [((1,), {"x": 1}), ((1,), {"user": 1})]),
        (["user"], [], [((1,), {})]),
    ],
)
def test_a_call_is_whole_if_all_that_it_gives_counts(ignored: list[str], whole: Any, not_whole: Any) -> None:
    digest = ArgumentDigest(f_all, ignored=ignored)
    assert [digest.is_whole(*call) for call in whole] == [True] * len(whole)
    assert [digest.is_whole(*call) for call in not_whole] == [False] * len(not_whole)


@pytest.mark.parametrize("namespace", [None, "team"])
async def test_one_text_is_no_list_of_tags(namespace: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """Each of its letters would be one: the result is handed on, and not stored."""
    cache, calls = MemoryCache(), 0

    def one_text(value: int) -> Any:
        return "team"

    @cached(cache, namespace, tags=one_text)
    async def load(number: int) -> int:
        nonlocal calls
        calls += 1
        return number

    with caplog.at_level(logging.WARNING):
        assert [await load(1), await load(1)] == [1, 1]
    assert calls == 2
    assert "tags are several texts" in caplog.text


async def test_a_writer_that_gives_one_text_as_tags_is_refused_before_it_writes() -> None:
    cache, written = MemoryCache(), False

    def one_text(number: int) -> Any:
        return "team"

    @invalidate_on_write(cache, "p", tags=one_text)
    async def write(number: int) -> None:
        nonlocal written
        written = True

    with pytest.raises(UsageError, match=r"write \['team'\] for one"):
        await write(1)
    assert not written


async def test_long_names_make_tags_that_can_be_stored(redis_server: RedisServer, prefix: str) -> None:
    """A view's namespace and a prefix may have more bytes than a tag."""
    async with make_manager(redis_server, prefix, page={}) as manager:
        view, calls = manager.cache("page", namespace="n" * 200), 0

        @cached(view, "p" * 100)
        async def load(a_parameter_with_a_long_name: int) -> int:
            nonlocal calls
            calls += 1
            return calls

        @invalidate_on_write(view, "p" * 100, key_params=["a_parameter_with_a_long_name"])
        async def write(a_parameter_with_a_long_name: int) -> None: ...

        assert [await load(1), await load(1), await load(2)] == [1, 1, 2]
        await write(1)
        assert [await load(1), await load(2)] == [3, 2]


# -- writers that name parameters ---------------------------------------------------------------


async def test_a_parameter_that_no_reader_is_told_apart_by_is_refused() -> None:
    cache = MemoryCache()

    @cached(cache, "users", ignore=["trace"])
    async def get_user(user_id: int, trace: str = "") -> int:
        return user_id

    @cached(cache, "users")
    async def find_user(name: str) -> str:
        return name

    async def by_uid(uid: int) -> None: ...

    async def by_trace(trace: str) -> None: ...

    async def by_name(name: str, user_id: int) -> None: ...

    for function, name in ((by_uid, "uid"), (by_trace, "trace")):
        with pytest.raises(UsageError, match=f"told apart by {name}, but by name, user_id"):
            invalidate_on_write(cache, "users", key_params=[name])(function)
    with pytest.raises(UsageError, match="name one parameter at least"):
        invalidate_on_write(cache, "users", key_params=[])
    invalidate_on_write(cache, "users", key_params=["name", "user_id"])(by_name)
    invalidate_on_write(cache, "others", key_params=["uid"])(by_uid)  # nobody knows who reads these


async def test_readers_that_come_later_and_lack_the_parameter_are_cleared_all() -> None:
    cache, rows = MemoryCache(), {1: "Ann", 2: "Bob"}

    @invalidate_on_write(cache, "users", key_params=["uid"])
    async def rename(uid: int, name: str) -> None:
        rows[uid] = name

    @cached(cache, "users")
    async def get_user(user_id: int) -> str:
        return rows[user_id]

    assert await get_user(1) == "Ann"
    await rename(1, "Ada")
    assert await get_user(1) == "Ada"


@pytest.mark.parametrize(
    ("read", "written"),
    [(1, "1"), ("1", 1), (NUMBER, str(NUMBER)), (str(NUMBER), NUMBER), (-5, "-5"), ("a", "a"), (2.5, 2.5)],
)
async def test_numbers_and_uuids_are_the_same_as_their_texts(read: Any, written: Any) -> None:
    cache, row = MemoryCache(), "old"

    @cached(cache, "users")
    async def get_user(user_id: Any) -> str:
        return row

    @invalidate_on_write(cache, "users", key_params=["user_id"])
    async def rename(user_id: Any) -> None:
        nonlocal row
        row = "new"

    assert [await get_user(read), await get_user("another")] == ["old", "old"]
    await rename(written)
    assert [await get_user(read), await get_user("another")] == ["new", "old"]


def test_plain_functions_write_by_parameters_too(redis_server: RedisServer, prefix: str) -> None:
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as face:
        rows = {1: "Ann"}

        @cached(face.cache("page"), "users")
        def get_user(user_id: int) -> str:
            return rows[user_id]

        @invalidate_on_write(face.cache("page"), "users", key_params=["user_id"])
        def rename(user_id: str, name: str) -> None:
            rows[int(user_id)] = name

        assert get_user(1) == "Ann"
        rename("1", "Ada")
        assert get_user(1) == "Ada"
        with pytest.raises(UsageError, match="told apart by name, but by user_id"):
            invalidate_on_write(face, "users", cache_type="page", key_params=["name"])(rename)


def test_a_store_of_ones_own_has_no_tags_to_clear() -> None:
    for tags in (["lists"], lambda: ["lists"]):
        with pytest.raises(UsageError, match="it knows no tags"):
            invalidate_on_write(Dictionary(), "users", tags=tags)


async def test_a_store_of_ones_own_clears_the_whole_prefix_for_one_parameter() -> None:
    store, calls = Dictionary(), 0

    @cached(store, "users")
    async def get_user(user_id: int) -> int:
        nonlocal calls
        calls += 1
        return user_id

    @invalidate_on_write(store, "users", key_params=["user_id"], tags=[])
    async def write(user_id: int) -> None: ...

    assert [await get_user(1), await get_user(2)] == [1, 2]
    await write(1)
    assert [await get_user(1), await get_user(2)] == [1, 2]
    assert calls == 4


# -- caches that functions open -----------------------------------------------------------------


async def test_a_cache_that_could_not_be_opened_is_tried_again() -> None:
    server = RedisServer("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru").start()
    try:

        @cached(ttl=60, namespace="mended", config={"redis": {"url": server.url}})
        async def load(number: int) -> int:
            return number

        for _ in range(2):
            with pytest.raises(ConfigError, match="may evict"):
                await load(1)
        server.client().config_set("maxmemory-policy", "noeviction")
        assert await load(1) == 1
    finally:
        await close_default_cache()
        server.stop()
