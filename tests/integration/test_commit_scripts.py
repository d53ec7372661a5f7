"""The two scripts that store entries, on a server and on a cluster: what takes the place of what."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stoker.core import CacheManager
from stoker.core.entries.commits import ALWAYS, EXPIRED, HEAD, REPLACING
from stoker.core.entries.entry import FLAG_NONE, Entry, pack_entry
from stoker.core.link.script import Script
from tests.managers import make_manager
from tests.servers import RedisServer

NOW = int(time.time() * 1000)
HOUR = 3_600_000
BORN = 5 << 64


def entry(
    born: int = BORN,
    created: int = NOW - 2 * HOUR,
    fresh_until: int = NOW - HOUR,
    tags: tuple[bytes, ...] = (),
    payload: bytes = b"\x01",
    epoch: int = 7,
) -> bytes:
    return pack_entry(Entry(epoch, born, created, fresh_until, FLAG_NONE, tags, payload))


THERE = entry()
FRESH = entry(created=NOW, fresh_until=NOW + HOUR)
TAGGED = entry(tags=(b"one",))
NEW = entry(created=NOW, fresh_until=NOW + 2 * HOUR, payload=b"\x02")
CASES: dict[str, tuple[bytes | None, bytes, bytes, bool]] = {
    # what is stored, the new entry, its condition, whether it is stored
    "nothing": (None, NEW, ALWAYS, True),
    "born there, too": (THERE, NEW, ALWAYS, True),
    "born earlier": (entry(BORN - 1), NEW, ALWAYS, True),
    "born later": (entry(BORN + 1), NEW, ALWAYS, False),
    "born a millisecond later": (entry(BORN + (1 << 64)), NEW, ALWAYS, False),
    "born later in another epoch": (entry(BORN + 1, epoch=6), NEW, ALWAYS, True),
    "no entry": (b"anything, be it longer than a header of an entry", NEW, ALWAYS, True),
    "short": (b"SK", NEW, ALWAYS, True),
    "absent": (None, NEW, HEAD, True),
    "absent, but it is there": (THERE, NEW, HEAD, False),
    "absent, but it is born later": (entry(BORN + 1), NEW, HEAD, False),
    "still there": (THERE, NEW, HEAD + THERE[:46], True),
    "still there, with its tags": (TAGGED, NEW, HEAD + TAGGED[:50], True),
    "gone": (None, NEW, HEAD + THERE[:46], False),
    "replaced by what is born there": (FRESH, NEW, HEAD + THERE[:46], False),
    "replaced by what has other tags": (entry(tags=(b"two",)), NEW, HEAD + TAGGED[:50], False),
    "unreadable": (b"no entry", NEW, HEAD + b"no entry", True),
    "unreadable, replaced": (THERE, NEW, HEAD + THERE[:30], False),
    "expired": (THERE, NEW, EXPIRED + THERE[:46], True),
    "expired by another clock": (FRESH, NEW, EXPIRED + FRESH[:46], False),
    "dead though fresh": (FRESH, NEW, HEAD + FRESH[:46], True),
}


async def commit(cache: CacheManager, name: str, stored: bytes, condition: bytes) -> int:
    fence = f"{name}:fence"
    await cache.link.call("SET", fence, f"{7:016x}:0-1:0-1", "PX", 60_000)
    script = Script("commit.lua", after=REPLACING)
    answers = await script.run(cache.link, [fence, cache.keys.log, name], stored, 60_000, condition)
    return int(answers[0])


async def commit_on_cluster(cache: CacheManager, name: str, stored: bytes, condition: bytes) -> int:
    script = Script("commit_cluster.lua", after=REPLACING)
    return int(await script.run(cache.link, [name], stored, 60_000, condition, NOW + HOUR))


@pytest.mark.parametrize("how", [commit, commit_on_cluster])
async def test_what_takes_the_place_of_what(redis_server: RedisServer, prefix: str, how: Any) -> None:
    async with make_manager(redis_server, prefix) as cache:
        client = redis_server.client()
        for case, (there, new, condition, takes) in CASES.items():
            name = cache.keys.entry("page", case)
            if there is not None:
                client.set(name, there, px=60_000)
            assert await how(cache, name, new, condition) == takes, case
            assert client.get(name) == (new if takes else there), case


@pytest.mark.parametrize("how", [commit, commit_on_cluster])
async def test_what_is_no_string_gives_way(redis_server: RedisServer, prefix: str, how: Any) -> None:
    async with make_manager(redis_server, prefix) as cache:
        name, client = cache.keys.entry("page", "k"), redis_server.client()
        client.rpush(name, "a list")
        assert await how(cache, name, NEW, HEAD) == 1
        assert client.get(name) == NEW
