"""The cache for callers without an event loop: the same promises, from any thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stoker.core import (
    CacheMetrics,
    Key,
    SyncCacheManager,
    Tag,
    UsageError,
    cached,
)
from stoker.core.write_through import WriteThrough
from tests.managers import make_config
from tests.servers import RedisServer

POLICIES: dict[str, dict[str, Any]] = {
    "page": {"ttl": 60},
    "near": {"ttl": 60, "tiers": ["memory", "redis"]},
    "here": {"ttl": 60, "tiers": ["memory"]},
    "stale": {"ttl": 0.001, "stale": 60},
    "safe": {"ttl": 0.001, "fail_safe": 60, "fail_safe_throttle": 0.001},
    "hasty": {"ttl": 60, "load_timeout": 0.05},
}


@pytest.fixture
def cache(redis_server: RedisServer, prefix: str) -> Iterator[SyncCacheManager]:
    with SyncCacheManager(make_config(redis_server, prefix, **POLICIES)) as face:
        yield face


@dataclass
class Item:
    number: int


def test_it_does_what_a_manager_does(cache: SyncCacheManager) -> None:
    assert cache.get("page", "k") is None
    assert cache.set("page", "k", Item(1), ttl=30, tags=["t"])
    assert cache.get("page", "k") == {"number": 1}
    assert cache.get("page", "k", into=Item) == Item(1)
    assert cache.exists("page", "k")
    left = cache.ttl("page", "k")
    assert left is not None
    assert left <= 30
    assert cache.expire("page", "k", 60)
    assert cache.touch("page", "k")
    assert not cache.set("page", "k", 2, if_absent=True)
    assert cache.set_many("page", {"a": 1, "b": None}) == 2
    assert cache.get_many("page", ["a", "b", "c"]) == {"a": 1, "b": None}
    assert cache.delete("page", "a") == 1
    assert cache.delete_many("page", ["a", "b"]) == 1
    assert cache.increment("page", "n", 5) == 5
    assert cache.decrement("page", "n", 2) == 3
    assert cache.counter("page", "n") == 3
    assert cache.invalidate_tags("t").acknowledged
    assert cache.get("page", "k") is None
    assert cache.invalidate(Key("page", "x"), Tag("y"), reason="why").acknowledged
    assert cache.invalidate_type("page").acknowledged
    assert cache.invalidate_pattern("page", "x*") == 0
    assert cache.get_stats("page").connected
    token = cache.fill("page", "k")
    assert cache.set("page", "k", "v", token=token)
    with pytest.raises(UsageError, match="no cache type"):
        cache.get("nobody", "k")


def test_a_view_is_by_key_alone(cache: SyncCacheManager) -> None:
    view, other = cache.cache("page", namespace="eu"), cache.cache("page")
    assert view.set("1", "tea")
    assert (view.get("1"), other.get("1"), other.get("eu:1"), view.key("1")) == ("tea", None, "tea", "eu:1")
    assert view.get_many(["1", "2"]) == {"1": "tea"}
    assert view.get_or_load("2", lambda: "pot") == "pot"
    assert view.delete("1") == 1
    with view.write_through("2") as write:
        write.value = "cup"
    assert write.stored
    assert view.get("2") == "cup"
    assert view.clear()
    assert view.get("2") is None
    assert view.increment("n") == 1
    with pytest.raises(UsageError, match="no cache type"):
        cache.cache("nobody")


@pytest.mark.parametrize("kind", ["page", "near", "here"])
def test_get_miss_compute_set_is_a_load_by_hand(cache: SyncCacheManager, kind: str) -> None:
    assert cache.get(kind, "k") is None
    cache.delete(kind, "k")  # while it is computed
    cache.set(kind, "k", "computed before")
    assert cache.get(kind, "k") is None
    assert cache.set(kind, "k", "now")
    assert cache.get(kind, "k") == "now"


def test_the_mark_of_a_miss_belongs_to_its_thread(cache: SyncCacheManager) -> None:
    assert cache.get("page", "k") is None
    cache.delete("page", "k")
    thread = threading.Thread(target=cache.set, args=("page", "k", "vouched for"))
    thread.start()
    thread.join()
    assert cache.get("page", "k") == "vouched for"


def test_marks_hold_in_views_and_batches(cache: SyncCacheManager) -> None:
    view = cache.cache("page", namespace="eu")
    assert view.get_many(["1", "2"]) == {}
    view.delete_many(["1", "2"])
    view.set_many({"1": "old", "2": "old"})
    assert view.get_many(["1", "2"]) == {}


def test_an_invalidation_during_a_load_wins(cache: SyncCacheManager) -> None:
    began, go_on = threading.Event(), threading.Event()

    def load() -> str:
        began.set()
        go_on.wait(20)
        return "old"

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(cache.get_or_load, "near", "k", load)
        assert began.wait(20)
        cache.delete("near", "k")
        go_on.set()
        assert answer.result(20) == "old"
    assert cache.get_or_load("near", "k", lambda: "new") == "new"


def test_write_through_invalidates_and_stores(cache: SyncCacheManager) -> None:
    with cache.write_through("page", "k") as write:
        write.value = "new"
    assert (write.stored, cache.get("page", "k")) == (True, "new")


def test_a_write_that_raises_invalidates_all_the_same(cache: SyncCacheManager) -> None:
    assert cache.set("page", "k", "old")
    write = _fail_to_write(cache)
    assert (write.stored, write.receipt.acknowledged, cache.get("page", "k")) == (False, True, None)


def _fail_to_write(cache: SyncCacheManager) -> WriteThrough:
    with contextlib.suppress(LookupError), cache.write_through("page", "k") as write:
        write.value = "never"
        raise LookupError
    return write


async def test_it_refuses_to_hold_up_an_event_loop(redis_server: RedisServer, prefix: str) -> None:
    face = SyncCacheManager(make_config(redis_server, prefix, page={}))
    with pytest.raises(UsageError, match=r"an event loop runs in this thread.*CacheManager"):
        face.get("page", "k")
    with pytest.raises(UsageError, match="an event loop runs in this thread"):
        face.connect()
    assert await asyncio.to_thread(face.set, "page", "k", 1)
    assert await asyncio.to_thread(face.get, "page", "k") == 1
    await asyncio.to_thread(face.close)


def test_closed_it_opens_again_at_the_next_use(redis_server: RedisServer, prefix: str) -> None:
    face = SyncCacheManager(make_config(redis_server, prefix, page={}))
    assert face.set("page", "k", 1)  # without `connect`
    face.close()
    face.close()
    assert not face._home.loop.running
    assert face.get("page", "k") == 1
    face.close()


def test_prometheus_sees_what_it_did(redis_server: RedisServer, prefix: str) -> None:
    registry = CollectorRegistry()
    face = SyncCacheManager(
        make_config(redis_server, prefix, page={}), metrics=CacheMetrics(registry=registry)
    )
    with face:
        face.get_or_load("page", "k", lambda: 1)
        face.get_or_load("page", "k", lambda: 1)
    labels = {"cache_type": "page"}
    assert registry.get_sample_value("cache_hits_total", labels) == 1
    assert registry.get_sample_value("cache_misses_total", labels) == 1


def test_without_a_server_it_misses_and_loads(redis_server: RedisServer, prefix: str) -> None:
    config = make_config(redis_server, prefix, page={})
    away = config.model_copy(update={"redis": config.redis.model_copy(update={"url": "redis://127.0.0.1:1"})})
    with SyncCacheManager(away) as face:
        assert not face.connect()
        assert face.get("page", "k", "default") == "default"
        assert not face.set("page", "k", 1)
        assert face.get_or_load("page", "k", lambda: 5) == 5
        assert face.increment("page", "n") is None
        assert not face.delete("page", "k")


def test_plain_functions_are_cached_through_it(cache: SyncCacheManager) -> None:
    calls: list[int] = []

    @cached(cache, "items", cache_type="near", ttl=30, tags=lambda item: [f"item:{item.number}"])
    def find(number: int, *, full: bool = False) -> Item:
        """Find it."""
        calls.append(number)
        return Item(number)

    assert find(1) == find(number=1) == find(1, full=False) == Item(1)
    assert find(2, full=True) == Item(2)
    assert calls == [1, 2]
    assert cache.exists("near", find.key(1))
    assert cache.invalidate_tags("item:1").acknowledged
    assert find.invalidate(2, full=True).acknowledged
    assert [find(1), find(2, full=True)] == [Item(1), Item(2)]
    assert calls == [1, 2, 1, 2]
    assert find.invalidate_all().acknowledged
    assert find(1) == Item(1)
    assert (find.__name__, find.__doc__) == ("find", "Find it.")
    with pytest.raises(UsageError, match=r"find_async is async.*CacheManager"):

        @cached(cache, cache_type="near")
        async def find_async(number: int) -> int:
            return number
