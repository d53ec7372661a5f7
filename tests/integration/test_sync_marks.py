"""Marks of threads: *get, miss, compute, set* is a load by hand in each of them, whatever started it."""

from __future__ import annotations

import contextvars
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from stoker.core import SyncCacheManager
from tests.managers import make_config
from tests.servers import RedisServer


def test_requests_in_threads_don_t_take_each_other_s_marks(redis_server: RedisServer, prefix: str) -> None:
    """Web frameworks copy the main thread's context into the threads that answer requests."""
    source, computed, go_on = {"p": "old"}, Event(), Event()
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as cache, ThreadPoolExecutor(2) as pool:
        assert cache.get("page", "a flag, as the service starts") is None

        def slowly() -> bool:
            assert cache.get("page", "p") is None
            value = source["p"]
            computed.set()
            assert go_on.wait(20)
            return cache.set("page", "p", value)

        def fast() -> bool:
            assert cache.get("page", "p") is None
            return cache.set("page", "p", source["p"])

        slow = pool.submit(contextvars.copy_context().run, slowly)
        assert computed.wait(20)
        source["p"] = "new"
        cache.delete("page", "p")
        assert pool.submit(contextvars.copy_context().run, fast).result(20), "it was computed since"
        go_on.set()
        assert not slow.result(20), "it was computed before"
        assert cache.get("page", "p") == "new"


def test_a_thread_has_its_own_from_call_to_call(redis_server: RedisServer, prefix: str) -> None:
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as cache:
        assert cache.get("page", "p") is None
        cache.delete("page", "p")
        assert not cache.set("page", "p", "computed before")
        assert cache.set("page", "p", "vouched for")
