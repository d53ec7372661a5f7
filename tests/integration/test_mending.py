"""Corrupt entries are misses and are removed; what somebody may be able to read stays."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager
from stoker.core.entry import VERSION
from stoker.core.mending import is_corrupt
from tests.clusters import ClusterServers
from tests.managers import PATIENT, make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

TEXT = "tea " * 1_000


@dataclass
class Price:
    cents: int


async def stored(cache: CacheManager, key: str = "1", value: Any = TEXT) -> bytes:
    """Store an entry; return its bytes."""
    assert await cache.set("page", key, value)
    data: bytes = await cache.link.call("GET", cache.keys.entry("page", key))
    return data


async def write(cache: CacheManager, data: bytes, key: str = "1") -> None:
    await cache.link.call("SET", cache.keys.entry("page", key), data, "EX", 600)


async def is_there(cache: CacheManager, key: str = "1") -> bool:
    return bool(await cache.link.call("EXISTS", cache.keys.entry("page", key)))


def damaged(data: bytes) -> dict[str, bytes]:
    return {
        "no entry": b"SELECT 1",
        "nearly nothing": b"S",
        "a text of somebody's": b'{"name": "tea"}' * 100,
        "cut off in the header": data[:20],
        "cut off in the payload": data[:-3],
        "unknown flags": data[:3] + b"\xff" + data[4:],
        "no version": data[:2] + b"\x00" + data[3:],
        "changed in the payload": data[:-3] + bytes((data[-3] ^ 0xFF,)) + data[-2:],
    }


@pytest.mark.parametrize("compression", ["none", "zstd", "zlib"])
@pytest.mark.parametrize("kind", damaged(b"SK" + bytes(60)))
async def test_what_is_corrupt_is_a_miss_and_goes(
    redis_server: RedisServer, prefix: str, kind: str, compression: str
) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60, "compression": compression}) as cache:
        value: Any = {"text": TEXT, "end": [1.5]} if compression == "none" else TEXT
        data = damaged(await stored(cache, value=value))[kind]
        if kind == "changed in the payload" and compression != "zlib":
            data = data[: -len("ea ")] if compression == "none" else data[:-10] + bytes(10)
        await write(cache, data)

        assert await cache.get("page", "1") is None
        await eventually(lambda: gone(cache), "the corrupt entry is removed")
        assert cache.counters.of("page").undecodable == 1


async def gone(cache: CacheManager) -> bool:
    return not await is_there(cache)


async def answered(cache: CacheManager) -> None:
    """What was posted before has been carried out."""
    await cache.link.call("PING")


async def test_what_a_newer_version_wrote_stays(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60}) as cache:
        data = await stored(cache)
        for number, newer in enumerate((data[:2] + bytes((VERSION + 1,)) + data[3:], b"SK" + bytes((9,)))):
            await write(cache, newer, str(number))
            assert await cache.get("page", str(number)) is None
            await answered(cache)
            assert await is_there(cache, str(number))


async def test_what_is_of_another_shape_than_is_asked_for_stays(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60}) as cache:
        await stored(cache, value={"euros": 5})
        assert await cache.get("page", "1", into=Price) is None
        await answered(cache)
        assert await cache.get("page", "1") == {"euros": 5}


@pytest.mark.parametrize("compression", ["none", "zstd", "zlib"])
async def test_what_is_larger_than_this_process_allows_stays(
    redis_server: RedisServer, prefix: str, compression: str
) -> None:
    policy = {"ttl": 60, "compression": compression}
    async with (
        make_manager(redis_server, prefix, page=policy) as large,
        make_manager(redis_server, prefix, page={**policy, "max_entry": 2_000}) as small,
    ):
        await stored(large, value=TEXT * 30)
        assert await small.get("page", "1") is None
        await answered(small)
        assert await large.get("page", "1") == TEXT * 30


async def test_what_was_stored_again_meanwhile_stays(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60}) as cache:
        await stored(cache, value="right")
        cache.storage.mending.mend("page", "1", b"what was there before", 1_000)
        await answered(cache)

        assert await cache.get("page", "1") == "right"


async def test_who_only_looks_removes_nothing(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60}) as cache:
        await stored(cache)
        await write(cache, b"corrupt")
        config = CacheConfig.model_validate(
            {"prefix": prefix, "redis": {"url": redis_server.url, **PATIENT}, "types": {"page": {}}}
        )
        async with CacheManager(config, read_only=True, recording=False) as looking:
            assert await looking.get("page", "1") is None
            await answered(looking)
        assert await is_there(cache)


async def test_a_loader_replaces_it(redis_server: RedisServer, prefix: str) -> None:
    async def load() -> str:
        return "loaded"

    async with make_manager(redis_server, prefix, page={"ttl": 60, "tiers": ["memory", "redis"]}) as cache:
        await stored(cache)
        await write(cache, b"corrupt")
        cache.memory.remove("page", "1")

        assert await cache.get_or_load("page", "1", load) == "loaded"
        await answered(cache)
        assert await cache.get("page", "1") == "loaded"


async def test_on_a_cluster_too(cluster: ClusterServers, cluster_prefix: str) -> None:
    async with make_manager(cluster, cluster_prefix, page={"ttl": 60}) as cache:
        for key in ("1", "2", "3"):
            await write(cache, b"corrupt", key)
            assert await cache.get("page", key) is None

        async def all_gone() -> bool:
            return not any([await is_there(cache, key) for key in ("1", "2", "3")])

        await eventually(all_gone, "they are removed wherever they are")


async def test_it_is_told_once_a_minute_and_without_the_key(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_manager(redis_server, prefix, page={"ttl": 60}) as cache:
        for key in ("secret one", "secret two"):
            await write(cache, b"corrupt", key)
            await cache.get("page", key)

    lines = [record.getMessage() for record in caplog.records if "corrupt_entry" in record.getMessage()]
    assert lines == ["action=corrupt_entry cache_type=page bytes=7"]


def test_an_expanded_size_is_bounded_before_it_is_judged() -> None:
    bomb = b"SK\x01" + bytes((0b1000,)) + bytes(42) + zlib.compress(bytes(10_000_000))
    assert not is_corrupt(bomb, 1_000)
