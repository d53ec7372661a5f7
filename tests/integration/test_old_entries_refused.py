"""What an older cache wrote and nobody can read, or that can't be meant, is not there."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.core import (
    CacheConfig,
    CacheManager,
    ChatMessage,
    GenerationRequest,
    Key,
    OldEntries,
    ResponseCache,
    UsageError,
)
from tests.clusters import ClusterServers
from tests.managers import make_manager
from tests.old_caches import LATER, Product, Source, old_of, there, write_old
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

PRODUCT = json.dumps({"name": "x", "category": 1}).encode()
BAD = {
    "no JSON": b"{",
    "of another type": b'{"name": 5}',
    "too large": json.dumps({"name": "x" * 2_000, "category": 1}).encode(),
    "too large when expanded": zlib.compress(PRODUCT + b" " * 2_000),
    "a zip bomb": zlib.compress(json.dumps({"name": "x" * 5_000_000, "category": 1}).encode()),
    "cut off": zlib.compress(PRODUCT)[:-6],
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
async def test_what_can_not_be_read_is_not_there(redis_server: RedisServer, prefix: str, data: bytes) -> None:
    source = Source()
    write_old(redis_server, f"{prefix}-old:1", data)
    async with make_manager(redis_server, prefix, page={"max_entry": 1_000, "ttl": 60}) as cache:
        old = old_of(cache, prefix, decode="zlib")

        assert (await cache.get_or_load("page", "1", old.before(source.load), "1")).name == "new 1"
        assert old.counts.undecodable == cache.counters.of("page").undecodable == 1
    assert there(redis_server, f"{prefix}-old:1"), "it is not ours to remove"


@pytest.mark.parametrize("decode", ["text", "bytes", json.loads], ids=["text", "bytes", "a function"])
async def test_what_is_not_of_the_loader_s_type_stays_where_it_is(
    redis_server: RedisServer, prefix: str, decode: Any
) -> None:
    source = Source()
    write_old(redis_server, f"{prefix}-old:1", [1, 2])
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix, decode=decode)

        assert (await cache.get_or_load("db_query", "1", old.before(source.load), "1")).name == "new 1"
        assert old.counts.undecodable == 1
        assert there(redis_server, f"{prefix}-old:1")


async def test_what_a_function_decodes_is_of_the_loader_s_type(
    redis_server: RedisServer, prefix: str
) -> None:
    source = Source()
    write_old(redis_server, f"{prefix}-old:1", {"name": "old 1", "category": 7})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix, decode=json.loads)

        taken = await cache.get_or_load("db_query", "1", old.before(source.load), "1")

        assert taken == await cache.get("db_query", "1", into=Product) == Product("old 1", 7)


async def test_bytes_are_not_cut(redis_server: RedisServer, prefix: str) -> None:
    for size in (1_000, 1_001):
        write_old(redis_server, f"{prefix}-old:{size}", b"x" * size)
    async with make_manager(redis_server, prefix, page={"max_entry": 1_000, "ttl": 60}) as cache:
        old = old_of(cache, prefix, decode="bytes")

        assert [await old.take("page", "1001"), old.counts.undecodable] == [None, 1]
        assert len(await old.get("page", "1000")) == 1_000


async def test_a_key_of_another_kind_is_not_there(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    client.hset(f"{prefix}-old:1", "field", "value")
    client.expire(f"{prefix}-old:1", 60)
    client.close()
    async with make_manager(redis_server, prefix) as cache:
        assert await old_of(cache, prefix).get("db_query", "1") is None


async def test_without_its_server_the_loader_is_asked(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    async with make_manager(redis_server, prefix) as cache:
        gone = f"redis://127.0.0.1:{free_port()}/0"
        async with old_of(cache, prefix, url=gone) as old:
            load = old.before(source.load)
            assert (await cache.get_or_load("db_query", "1", load, "1")).name == "new 1"
            assert old.counts.absent == 1


async def test_a_cache_in_memory_alone_takes_over_what_a_server_has(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:1", "old")
    write_old(redis_server, f"{prefix}-old:2", "old")
    config = CacheConfig.model_validate({"redis": {"enabled": False, "timeout": 10, "connect_timeout": 10}})
    async with CacheManager(config) as cache, old_of(cache, prefix, url=redis_server.url) as old:
        await cache.delete("db_query", "2")

        assert await old.get("db_query", "1") == "old"
        assert await old.get("db_query", "2") is None


async def test_after_its_end_nobody_looks(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    write_old(redis_server, f"{prefix}-old:1", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix, until=datetime.now(UTC) - timedelta(seconds=1))

        assert (await cache.get_or_load("db_query", "1", old.before(source.load), "1")).name == "new 1"
        assert await old.get("db_query", "2") is None
        assert await old.take("db_query", "1") is None

        def name_of(product_id: str) -> str:
            raise AssertionError("nobody asks for a name any more")

        unused = OldEntries(cache, name_of, until=datetime.now(UTC)).before(source.load)
        assert (await cache.get_or_load("db_query", "3", unused, "3")).name == "new 3"
    assert old.over
    assert there(redis_server, f"{prefix}-old:1")
    client = redis_server.client()
    assert not client.keys(f"{prefix}:switch:*"), "no switch was noted"
    client.close()


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        ("old:entries", {}, "{key}"),
        ("old:{key}", {"until": datetime(2100, 1, 1)}, "time zone"),  # noqa: DTZ001  that is the point
        ("old:{key}", {"until": "2100-01-01"}, "time zone"),
        ("old:{key}", {"decode": "pickle"}, "decode"),
    ],
)
def test_what_can_not_be_used_is_refused(names: str, options: dict[str, Any], says: str) -> None:
    cache = CacheManager(CacheConfig())
    options.setdefault("until", LATER)
    with pytest.raises(UsageError, match=says):
        OldEntries(cache, names, **options)


async def test_streams_are_no_loaders(redis_server: RedisServer, prefix: str) -> None:
    async def words() -> AsyncIterator[str]:
        yield "tea"

    async with make_manager(redis_server, prefix) as cache:
        with pytest.raises(UsageError, match="one by one"):
            old_of(cache, prefix).before(words)  # type: ignore[arg-type]  # pyright: ignore


async def test_a_stream_comes_from_the_model_and_not_from_an_old_entry(
    redis_server: RedisServer, prefix: str
) -> None:
    async def words() -> AsyncIterator[str]:
        yield "new"
        yield "er"

    async def ask_model(request: GenerationRequest) -> Any:
        return words()

    write_old(redis_server, f"{prefix}-old:asked", {"content": "old"})
    async with make_manager(redis_server, prefix) as manager:
        cache = ResponseCache(manager)
        old = OldEntries(manager, lambda request: f"{prefix}-old:{request.messages[0].content}", until=LATER)
        load = old.before(ask_model, tags=cache.tags)
        for text in ("asked", "not asked"):
            request = GenerationRequest([ChatMessage("user", text)])
            for _ in range(2):
                assert [chunk async for chunk in cache.get_or_stream(request, load)] == ["new", "er"]
    assert there(redis_server, f"{prefix}-old:asked")


async def test_a_loader_that_was_given_another_answers_for_itself(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:1", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as cache:

        async def load_name(load: Any, product_id: str) -> str:
            return str((await load(product_id)).name)

        load = old_of(cache, prefix).before(Source().load)
        assert await cache.get_or_load("db_query", "1", load_name, load, "1") == "new 1"


async def test_where_a_function_names_none_there_is_no_old_entry(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    def name_of(user: str) -> str | None:
        return None if user == "guest" else f"{prefix}-old:{user}"

    write_old(redis_server, f"{prefix}-old:ann", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = OldEntries(cache, name_of, until=LATER)
        load = old.before(Source().load)
        assert (await cache.get_or_load("db_query", "ann", load, "ann")).name == "old"
        assert (await cache.get_or_load("db_query", "guest", load, "guest")).name == "new guest"
    assert old.counts.unnamed == 0
    assert "unnamed" not in caplog.text


@pytest.mark.parametrize("name", [42, b"old:1", "\ud800"])
async def test_a_name_that_is_no_text_is_counted_and_the_loader_asked(
    redis_server: RedisServer, prefix: str, name: Any
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        old = OldEntries(cache, lambda _: name, until=LATER)
        assert (await cache.get_or_load("db_query", "1", old.before(Source().load), "1")).name == "new 1"
        assert old.counts.unnamed == 1


async def test_a_cache_without_server_must_say_where_old_entries_are() -> None:
    cache = CacheManager(CacheConfig.model_validate({"redis": {"enabled": False}}))
    with pytest.raises(UsageError, match="url"):
        OldEntries(cache, "old:{key}", until=LATER)


async def test_a_name_that_needs_arguments_must_be_given(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:mine", "old")
    async with make_manager(redis_server, prefix) as cache:
        old = OldEntries(cache, lambda number: f"{prefix}-old:{number}", until=LATER)
        with pytest.raises(UsageError, match="name"):
            await old.take("db_query", "1")
        assert await old.get("db_query", "1", name=f"{prefix}-old:mine") == "old"


async def test_on_a_cluster_entries_are_taken_over_wherever_they_are(
    cluster: ClusterServers, cluster_prefix: str
) -> None:
    names = [f"user:{number}" for number in range(12)]  # in slots of all servers
    async with make_manager(cluster, cluster_prefix) as cache:
        for name in names:
            await cache.link.call("SET", f"{cluster_prefix}-old:{name}", json.dumps(name), "EX", 600)
        await cache.invalidate(Key("db_query", names[0]))
        old = old_of(cache, cluster_prefix)

        assert [await old.get("db_query", name) for name in names] == [None, *names[1:]]
        assert await cache.get_many("db_query", names) == {name: name for name in names[1:]}

        async def removed() -> bool:
            left = [name for name in names if await cache.link.call("EXISTS", f"{cluster_prefix}-old:{name}")]
            return left == names[:1]

        await eventually(removed, "each is removed on the server that had it")


async def test_what_can_not_be_read_is_told_once_and_not_quoted(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("1", "2"):
        write_old(redis_server, f"{prefix}-old:{key}", {"name": ["secret"], "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix)
        for key in ("1", "2"):
            assert await old.get("db_query", key, into=Product) is None

    lines = [record.getMessage() for record in caplog.records if "old_entry" in record.getMessage()]
    assert lines == ["action=old_entry_undecodable cache_type=db_query reason=EntryError"]
