"""Taking over old entries: no invalidation is undone, and nothing is lost by it."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager, OldEntries, UsageError
from stoker.core.maintenance.sweep import sweep
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

LATER = datetime(2100, 1, 1, tzinfo=UTC)
TYPES = ["session", "db_query"]
"""Authoritative, and not."""


def write_old(server: RedisServer, *names: str, value: Any = "old") -> None:
    client = server.client()
    for name in names:
        client.set(name, json.dumps(value), ex=600)
    client.close()


def stored(server: RedisServer, name: str) -> bytes | None:
    client = server.client()
    found: bytes | None = client.get(name)
    client.close()
    return found


def old_of(
    cache: CacheManager, prefix: str, kind: type[OldEntries] = OldEntries, **options: Any
) -> OldEntries:
    return kind(cache, f"old-{prefix}:{{key}}", until=LATER, **options)


async def from_source(*_: Any) -> str:
    return "new"


# -- invalidations --------------------------------------------------------------------------------


@pytest.mark.parametrize("cache_type", TYPES)
async def test_what_is_invalidated_between_look_and_store_is_dead(
    redis_server: RedisServer, prefix: str, cache_type: str
) -> None:
    write_old(redis_server, f"old-{prefix}:1")
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as other:

        class Slow(OldEntries):
            async def _store(self, *args: Any, **kwargs: Any) -> bool:
                assert (await other.invalidate_tags("user:1")).acknowledged
                return await super()._store(*args, **kwargs)

        old = old_of(cache, prefix, Slow)
        await old.get(cache_type, "1", tags=lambda _: ["user:1"])

        assert await other.get(cache_type, "1") is None
        assert await cache.get(cache_type, "1") is None
        assert await old.get(cache_type, "1", tags=lambda _: ["user:1"]) is None


@pytest.mark.parametrize("cache_type", TYPES)
async def test_what_is_dead_here_is_younger_than_any_old_entry(
    redis_server: RedisServer, prefix: str, cache_type: str
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.set(cache_type, "1", "newer", tags=["user:1"])
        await cache.invalidate_tags("user:1")
        write_old(redis_server, f"old-{prefix}:1")
        old = old_of(cache, prefix)

        assert await old.get(cache_type, "1", "nothing") == "nothing", "its tags are not known"
        assert await cache.get_or_load(cache_type, "1", old.before(from_source)) == "new"


@pytest.mark.parametrize("cache_type", TYPES)
async def test_who_is_cut_off_from_the_log_takes_nothing(
    redis_server: RedisServer, own_redis_server: RedisServer, prefix: str, cache_type: str
) -> None:
    write_old(own_redis_server, f"old-{prefix}:1", f"old-{prefix}:2")
    async with (
        make_manager(redis_server, prefix) as cache,
        make_manager(redis_server, prefix) as other,
        old_of(cache, prefix, url=own_redis_server.url) as old,
    ):
        load = old.before(from_source)
        assert await old.get(cache_type, "nothing") is None  # notes the switch
        await cache.link.close()
        assert (await other.invalidate_type(cache_type)).acknowledged

        assert await old.get(cache_type, "1", "default") == "default"
        assert await cache.get_or_load(cache_type, "2", load) == "new"
        assert old.counts.taken == 0
    assert stored(own_redis_server, f"old-{prefix}:1"), "it is there for when the server is back"


# -- store first, remove after --------------------------------------------------------------------


async def test_on_a_full_server_nothing_is_lost(own_redis_server: RedisServer, prefix: str) -> None:
    write_old(own_redis_server, f"old-{prefix}:1")
    client = own_redis_server.client()
    async with make_manager(own_redis_server, prefix) as cache:
        old = old_of(cache, prefix)
        await old.get("session", "nothing")  # notes the switch
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)

        assert [await old.get("session", "1") for _ in range(2)] == ["old", "old"]
        await cache.link.call("PING")
        client.config_set("maxmemory", 0)
        assert await old.get("session", "1") == "old"
        assert await cache.get("session", "1") == "old", "now it is stored"
    client.close()
    assert stored(own_redis_server, f"old-{prefix}:1") is None


async def test_of_two_processes_that_read_at_once_one_takes_it(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"old-{prefix}:1")
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as other:
        theirs = old_of(other, prefix, keep=True)

        class Slow(OldEntries):
            async def _store(self, *args: Any, **kwargs: Any) -> bool:
                assert await theirs.get("session", "1") == "old"
                return await super()._store(*args, **kwargs)

        ours = old_of(cache, prefix, Slow)
        assert await ours.get("session", "1") == "old"
    assert (ours.counts.taken, theirs.counts.taken) == (0, 1)


async def test_what_is_in_memory_alone_for_want_of_room_stays_where_it_was(
    own_redis_server: RedisServer, prefix: str
) -> None:
    write_old(own_redis_server, f"old-{prefix}:1")
    client = own_redis_server.client()
    async with make_manager(
        own_redis_server, prefix, page={"tiers": ["memory", "redis"], "ttl": 60}
    ) as cache:
        old = old_of(cache, prefix)
        await old.get("page", "nothing")
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)

        assert await old.get("page", "1") == "old"
        await cache.link.call("PING")
        client.config_set("maxmemory", 0)
    client.close()
    assert stored(own_redis_server, f"old-{prefix}:1")


async def test_in_both_tiers_what_was_stored_is_removed_there(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"old-{prefix}:1")
    async with make_manager(redis_server, prefix, page={"tiers": ["memory", "redis"], "ttl": 60}) as cache:
        assert await old_of(cache, prefix).get("page", "1") == "old"
        await cache.link.call("PING")

        assert stored(redis_server, f"old-{prefix}:1") is None
        assert await cache.get("page", "1") == "old"


async def test_what_can_not_be_stored_is_answered_and_stays(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"old-{prefix}:1", f"old-{prefix}:2")
    async with make_manager(redis_server, prefix, page={"max_entry": 1_000, "ttl": 60}) as cache:
        old = old_of(cache, prefix, decode=lambda data: data.decode() * 1_000)

        assert len(await old.get("page", "1")) == len(await old.get("page", "1")) == 5_000
        assert len(await cache.get_or_load("page", "2", old.before(from_source))) == 5_000
        assert await old.take("page", "1") is None, "nothing was stored"
        await cache.link.call("PING")
    assert stored(redis_server, f"old-{prefix}:1")
    assert stored(redis_server, f"old-{prefix}:2")


@pytest.mark.parametrize("way", ["get", "load"])
async def test_what_an_older_process_wrote_meanwhile_stays(
    redis_server: RedisServer, prefix: str, way: str
) -> None:
    names = [f"old-{prefix}:1", f"old-{prefix}:2"]
    write_old(redis_server, *names)

    def decode(data: bytes) -> Any:
        if way not in written:
            written.add(way)
            write_old(redis_server, names[0], value="newer")
        return json.loads(data)

    written: set[str] = set()
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix, decode=decode)
        for key in ("1", "2"):
            if way == "get":
                assert await old.get("session", key) == "old"
            else:
                assert await cache.get_or_load("db_query", key, old.before(from_source)) == "old"

        async def removed() -> bool:
            return stored(redis_server, names[1]) is None

        await eventually(removed, "what was as it was is removed; by then, the other had its turn")
    assert stored(redis_server, names[0]) == b'"newer"'


async def test_take_stores_and_tells_what_it_stored(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"old-{prefix}:1")
    async with make_manager(redis_server, prefix) as cache:
        taken = await old_of(cache, prefix).take("session", "1", tags=lambda _: ["user:1"])
        assert taken is not None
        assert (taken.value, taken.tags) == ("old", ("user:1",))
        assert 590 < taken.seconds <= 600
        assert await cache.get("session", "1") == "old"
        await cache.invalidate_tags("user:1")
        assert await cache.get("session", "1") is None


# -- the switch -----------------------------------------------------------------------------------


async def note_and_sweep(cache: CacheManager, old: OldEntries, key: str) -> None:
    """A process notes the switch, a key is invalidated, and the record of that swept away."""
    assert await old.get("db_query", "nothing") is None
    await cache.delete("db_query", key)
    for number in range(5):
        await cache.delete("db_query", f"other {number}")
    assert (await sweep(cache, minimum_age=0, minimum_records=1)).trimmed


async def test_all_old_entries_of_a_prefix_go_by_one_switch(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"old-{prefix}:1")
    async with make_manager(redis_server, prefix) as cache:
        await note_and_sweep(cache, old_of(cache, prefix), "1")
    async with make_manager(redis_server, prefix) as other:

        def renamed(key: str) -> str:
            return f"old-{prefix}:{key}"

        old = OldEntries(other, renamed, until=LATER)

        assert await other.get_or_load("db_query", "1", old.before(from_source), "1") == "new"
        assert old.counts.refused == 1


async def test_a_lost_note_of_a_swept_log_ends_the_switch(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_old(redis_server, f"old-{prefix}:1", f"old-{prefix}:2")
    async with make_manager(redis_server, prefix) as cache:
        await note_and_sweep(cache, old_of(cache, prefix), "1")
        await cache.link.call("UNLINK", f"{prefix}:switch:main")  # evicted
    async with make_manager(redis_server, prefix) as other:
        old = old_of(other, prefix)
        assert [await old.get("db_query", key) for key in "12"] == [None, None]
        assert "switch=" in caplog.text
        assert not stored(redis_server, f"{prefix}:switch:main"), "others know it, too"

        assert await old_of(other, prefix, switch="second").get("db_query", "2") == "old"


async def test_a_lost_note_of_a_whole_log_loses_no_invalidation(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"old-{prefix}:1", f"old-{prefix}:2")
    async with make_manager(redis_server, prefix) as cache:
        await old_of(cache, prefix).get("db_query", "nothing")
        await cache.delete("db_query", "1")
        await cache.link.call("UNLINK", f"{prefix}:switch:main")
    async with make_manager(redis_server, prefix) as other:
        assert [await old_of(other, prefix).get("db_query", key) for key in "12"] == [None, "old"]


async def test_once_a_type_s_window_has_ended_nobody_waits_for_the_log(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_old(redis_server, f"old-{prefix}:1")
    async with make_manager(redis_server, prefix) as cache:
        await old_of(cache, prefix).get("db_query", "nothing")
        epoch, position, at_ms = (stored(redis_server, f"{prefix}:switch:main") or b"").decode().split(":")
        long_ago = int(at_ms) - 86_400_000
        await cache.link.call("SET", f"{prefix}:switch:main", f"{epoch}:{position}:{long_ago}", "PX", 60_000)

        async def read_back() -> bool:
            raise AssertionError("it is a long log")

        monkeypatch.setattr(cache.log, "read_back", read_back)
        old = old_of(cache, prefix)
        assert await cache.get_or_load("db_query", "1", old.before(from_source)) == "new"
        assert old.counts.absent == 0, "its server was not asked, either"


# -- arguments ------------------------------------------------------------------------------------


class Namer:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __call__(self, key: str) -> str:
        return f"old-{self.prefix}:{key}"


def name_of(prefix: str, key: str) -> str:
    return f"old-{prefix}:{key}"


async def load_by(key: str) -> str:
    return f"new {key}"


async def test_names_come_from_whatever_can_be_called(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"old-{prefix}:1", f"old-{prefix}:2")
    async with make_manager(redis_server, prefix) as cache:
        for key, names in (("1", functools.partial(name_of, prefix)), ("2", Namer(prefix))):
            load = OldEntries(cache, names, until=LATER).before(load_by)
            assert await cache.get_or_load("db_query", key, load, key) == "old"


async def test_names_that_raise_are_a_miss_that_is_counted_and_told_once(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    def names(key: str) -> str:
        raise KeyError(f"secret of {key}")

    async with make_manager(redis_server, prefix) as cache:
        old = OldEntries(cache, names, until=LATER)
        load = old.before(load_by)
        for key in "12":
            assert await cache.get_or_load("db_query", key, load, key) == f"new {key}"
    assert old.counts.unnamed == 2
    lines = [record.getMessage() for record in caplog.records if "unnamed" in record.getMessage()]
    assert lines == ["action=old_entry_unnamed cache_type=db_query reason=KeyError"]


@pytest.mark.parametrize(
    "url", ["http://:secret@host/", "redis://:secret@host:99999/", "redis://:secret@host/x", "", 5, None]
)
def test_a_url_that_can_not_be_used_is_refused_without_its_password(url: Any) -> None:
    cache = CacheManager(CacheConfig.model_validate({"redis": {"enabled": False}}))
    with pytest.raises(UsageError, match=r"^url: ") as raised:
        OldEntries(cache, "old:{key}", until=LATER, url=url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("switch", ["", "a b", "x" * 65, "a:b", 5])
def test_a_switch_has_a_plain_name(switch: Any) -> None:
    with pytest.raises(UsageError, match=r"^switch: "):
        OldEntries(CacheManager(CacheConfig()), "old:{key}", until=LATER, switch=switch)


@pytest.mark.parametrize("names", [b"old:{key}", None, 5, "stoker:{key}"])
def test_names_that_can_not_be_used_are_refused(names: Any) -> None:
    with pytest.raises(UsageError, match=r"^names: "):
        OldEntries(CacheManager(CacheConfig()), names, until=LATER)


async def test_what_is_stoker_s_own_is_no_old_entry(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        assert await cache.increment("db_query", "views", 41) == 41
        old = OldEntries(cache, "{key}", until=LATER)
        client = redis_server.client()
        (counter,) = [name.decode() for name in client.keys(f"{prefix}:n:*")]
        client.close()

        assert await old.get("db_query", counter, "none") == "none"
        assert await old.get("db_query", "1", "none", name=counter) == "none"
        assert old.counts.refused == 2
        await cache.link.call("PING")
        assert await cache.counter("db_query", "views") == 41


async def test_on_another_server_the_older_cache_may_have_the_same_prefix(
    redis_server: RedisServer, own_redis_server: RedisServer, prefix: str
) -> None:
    write_old(own_redis_server, f"{prefix}:1")
    async with make_manager(redis_server, prefix) as cache:
        names = f"{prefix}:{{key}}"
        with pytest.raises(UsageError, match="prefix"):
            OldEntries(cache, names, until=LATER, url=redis_server.url)
        async with OldEntries(cache, names, until=LATER, url=own_redis_server.url) as old:
            assert await old.get("db_query", "1") == "old"
