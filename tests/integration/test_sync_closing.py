"""Closing a cache without an event loop while other threads use it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from stoker.core import (
    CacheConfig,
    CacheManager,
    Key,
    Policy,
    Receipt,
    StokerError,
    SyncCacheManager,
    UsageError,
)
from stoker.core.loading.flights import LoadCancelledError
from stoker.core.sync.gate import Gate, Visit
from stoker.core.sync.handover import async_form
from stoker.core.sync.owed import surely
from tests.managers import make_config
from tests.servers import RedisServer
from tests.waiting import eventually, wait_until


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Slow:
    """Work on the loop that ends when it is let."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self._go: Callable[[], object] = lambda: None

    async def work(self, manager: CacheManager) -> str:
        loop, go = asyncio.get_running_loop(), asyncio.Event()
        self._go = lambda: loop.call_soon_threadsafe(go.set)
        self.began.set()
        await go.wait()
        return f"done, open: {manager.is_open}"

    def go(self) -> None:
        self._go()


def closing(pool: ThreadPoolExecutor, face: SyncCacheManager, timeout: float) -> Future[None]:
    """Close a cache in another thread; return when it is about to wait for calls."""
    closed = pool.submit(face.close, timeout)
    wait_until(lambda: face._home.gate.is_shut, "it closes")
    return closed


def test_closing_lets_calls_of_other_threads_end(pool: ThreadPoolExecutor) -> None:
    face, slow = SyncCacheManager(CacheConfig(backend="memory")), Slow()
    under_way = pool.submit(face.perform, slow.work)
    assert slow.began.wait(10)
    closed = closing(pool, face, 60)
    late = pool.submit(face.set, "db_query", "k", 1)
    slow.go()
    assert under_way.result(10) == "done, open: True"
    closed.result(10)
    assert late.result(10) is True  # it waited, and opened the cache again
    assert face.get("db_query", "k") == 1
    face.close()


def test_what_takes_longer_than_closing_waits_is_told_so(pool: ThreadPoolExecutor) -> None:
    face, slow = SyncCacheManager(CacheConfig(backend="memory")), Slow()
    under_way = pool.submit(face.perform, slow.work)
    assert slow.began.wait(10)
    face.close(0)
    with pytest.raises(LoadCancelledError, match="closed before this was done; try again") as caught:
        under_way.result(10)
    assert isinstance(caught.value, StokerError)
    assert face.get_or_load("db_query", "k", int, "5") == 5
    face.close()


def test_what_is_done_while_closing_waits_no_longer_is_returned(pool: ThreadPoolExecutor) -> None:
    """Its caller would do it a second time."""
    face, began = SyncCacheManager(CacheConfig(backend="memory")), threading.Event()

    async def work(manager: CacheManager) -> str:
        began.set()
        await eventually(lambda: not manager.serves, "it closes", pause=0)
        return "done"

    under_way = pool.submit(face.perform, work)
    assert began.wait(10)
    face.close(0)
    assert under_way.result(10) == "done"


def test_a_call_that_has_not_begun_when_the_cache_is_closed_opens_it_again(
    own_redis_server: RedisServer, pool: ThreadPoolExecutor
) -> None:
    face = SyncCacheManager(make_config(own_redis_server, "closed", page={}))
    own_redis_server.freeze()
    counted = pool.submit(face.increment, "page", "n")
    wait_until(lambda: face._home.loop.running, "it connects")
    face.close(0)
    own_redis_server.thaw()
    assert counted.result(20) == 1
    face.close()


def test_an_invalidation_that_is_made_before_the_cache_has_closed_is_not_made_again(
    redis_server: RedisServer, prefix: str, pool: ThreadPoolExecutor
) -> None:
    face, made = SyncCacheManager(make_config(redis_server, prefix, page={})), list[Receipt]()

    async def invalidate(manager: CacheManager) -> None:
        made.append(await manager.invalidate(Key("page", "k")))
        await eventually(lambda: not manager.serves or len(made) > 1, "it closes", pause=0)

    paid = pool.submit(surely, face.perform, invalidate)
    wait_until(lambda: made, "it is made")
    face.close(0)
    paid.result(20)
    assert [receipt.acknowledged for receipt in made] == [True]
    face.close()


def test_a_loader_may_use_the_cache_while_that_is_being_closed(pool: ThreadPoolExecutor) -> None:
    """It is waited for: made to wait itself, it would never end."""
    face = SyncCacheManager(CacheConfig(backend="memory"))
    began, go = threading.Event(), threading.Event()

    def load() -> Any:
        began.set()
        assert go.wait(10)
        return face.get_or_load("db_query", "inner", int, "5")

    outer = pool.submit(face.get_or_load, "db_query", "outer", load)
    assert began.wait(10)
    closed = closing(pool, face, 60)
    go.set()
    assert outer.result(10) == 5
    closed.result(10)


def test_a_loader_that_closes_another_cache_waits_for_that_one_s_callers(pool: ThreadPoolExecutor) -> None:
    face, other = (SyncCacheManager(CacheConfig(backend="memory")) for _ in range(2))
    slow = Slow()
    under_way = pool.submit(other.perform, slow.work)
    assert slow.began.wait(10)

    def load() -> str:
        other.close(60)
        return "loaded"

    loading = pool.submit(face.get_or_load, "db_query", "k", load)
    wait_until(lambda: other._home.gate.is_shut, "it closes")
    slow.go()
    assert under_way.result(10) == "done, open: True"
    assert loading.result(10) == "loaded"
    face.close()


def test_a_loader_that_closes_its_own_cache_is_refused() -> None:
    """It would wait for itself, and for the load that it is, until that is cancelled."""
    face = SyncCacheManager(CacheConfig(backend="memory"))

    def load() -> Any:
        with pytest.raises(UsageError, match="a loader of this cache can't close it"):
            face.close()
        return face.get_or_load("db_query", "inner", inner)

    def inner() -> str:
        with pytest.raises(UsageError, match="a loader of this cache can't close it"):
            face.close()
        return "loaded"

    assert face.get_or_load("db_query", "outer", load) == "loaded"
    face.close()
    assert not face._home.loop.running


STALE = Policy(tiers=("memory",), ttl=0.001, stale=60)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_load_behind_an_answer_may_use_the_cache_while_that_is_being_closed(
    pool: ThreadPoolExecutor, is_async: bool
) -> None:
    """It is waited for, and outlives the call that began it."""
    face = SyncCacheManager(CacheConfig(backend="memory", types={"page": STALE, "other": Policy()}))
    slow, go = Slow(), threading.Event()

    def use() -> Any:
        with pytest.raises(UsageError, match="a loader of this cache can't close it"):
            face.close()
        return face.get_or_load("other", "k", int, "5")

    def load() -> Any:
        slow.began.set()
        assert go.wait(10)
        return use()

    async def load_on_the_loop() -> Any:  # closing has come to waiting for loads when its function begins
        await slow.work(CacheManager(face.config))
        return await async_form(use)()

    face.set("page", "k", 1)
    behind = load_on_the_loop if is_async else load
    wait_until(lambda: face.get_or_load("page", "k", behind) == 1 and slow.began.is_set(), "it loads")
    loaded = pool.submit(face.get_or_load, "page", "k", behind)
    assert loaded.result(10) == 1
    closed = closing(pool, face, 60)
    if is_async:
        slow.go()
    else:
        go.set()
    closed.result(10)
    assert not face._home.loop.running


def test_a_loader_that_closing_has_given_up_waits_as_others_do(pool: ThreadPoolExecutor) -> None:
    face = SyncCacheManager(CacheConfig(backend="memory"))
    began, go, stands, within = (threading.Event() for _ in range(4))
    found: list[Any] = []

    def load() -> None:
        began.set()
        assert go.wait(10)
        within.set()
        found.append(face.get_or_load("db_query", "inner", int, "5"))

    loading = pool.submit(face.get_or_load, "db_query", "outer", load)
    assert began.wait(10)
    face._home.loop.loop().call_soon_threadsafe(stands.wait, 20)  # closing comes no further
    closed = pool.submit(face.close, 0)
    wait_until(lambda: face._home.gate.is_shut and not face._home.gate._is_patient, "it has given up")
    go.set()
    assert within.wait(10)
    stands.set()
    closed.result(10)
    with pytest.raises(LoadCancelledError):
        loading.result(10)
    assert found == [5]
    face.close()


def test_a_manager_that_is_closed_by_itself_is_made_anew() -> None:
    face = SyncCacheManager(CacheConfig(backend="memory"))

    async def is_open(manager: CacheManager) -> bool:
        return manager.is_open

    assert face.perform(is_open)
    face.perform(lambda manager: manager.close())
    assert face.perform(is_open)
    face.close()


def test_what_nobody_has_any_more_is_closed(own_redis_server: RedisServer, prefix: str) -> None:
    client = own_redis_server.client()

    def use() -> Any:
        face = SyncCacheManager(make_config(own_redis_server, prefix, page={}), recording=True)
        assert face.get_or_load("page", "k", int, "5") == 5
        assert face.get("page", "k") == 5
        return weakref.ref(face), face._home.loop.thread

    connections = len(client.client_list())
    face, thread = use()
    gc.collect()
    assert face() is None
    wait_until(lambda: not thread.is_alive(), "its loop has ended")
    wait_until(lambda: len(client.client_list()) == connections, "it has disconnected")
    assert client.keys(f"{prefix}:hot:page:*"), "what it had counted was handed over"


def test_many_threads_see_no_trouble_while_it_is_closed(
    redis_server: RedisServer, prefix: str, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    face = SyncCacheManager(make_config(redis_server, prefix, page={}))
    stop = threading.Event()

    def use(number: int) -> int:
        calls = 0
        while not stop.is_set() or not calls:
            key = f"{number}:{calls % 50}"
            assert face.set("page", key, calls)
            assert face.get_or_load("page", key, int, "-1") == calls
            calls += 1
        return calls

    users = [pool.submit(use, number) for number in range(6)]
    for _ in range(20):
        face.close(60)
        assert face.connect()
    stop.set()
    assert all(user.result(60) for user in users)
    face.close()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_write_through_that_outlasts_the_cache_invalidates_its_key(
    redis_server: RedisServer, prefix: str, pool: ThreadPoolExecutor, fails: bool
) -> None:
    rows = {"k": "old"}
    with SyncCacheManager(make_config(redis_server, prefix, page={})) as face:
        assert face.get_or_load("page", "k", rows.__getitem__, "k") == "old"
        with contextlib.suppress(ConnectionError), face.write_through("page", "k") as write:
            rows["k"] = write.value = "new"
            pool.submit(face.close).result(10)
            if fails:
                raise ConnectionError("after the commit")
        assert write.receipt.acknowledged
        assert not write.stored
        assert face.get_or_load("page", "k", rows.__getitem__, "k") == "new"


@pytest.mark.parametrize("backend", ["redis", "memory"])
def test_what_was_computed_before_the_cache_was_closed_is_not_stored_over_an_invalidation(
    redis_server: RedisServer, prefix: str, pool: ThreadPoolExecutor, backend: str
) -> None:
    config = make_config(redis_server, prefix, page={})
    if backend == "memory":
        config = CacheConfig(backend="memory", types={"page": Policy()})
    with SyncCacheManager(config) as face:
        assert face.get("page", "k") is None
        computed = "old"
        pool.submit(face.close).result(10)
        face.delete("page", "k")
        assert not face.set("page", "k", computed)
        assert face.get("page", "k") is None


async def test_closing_it_from_an_event_loop_is_refused() -> None:
    face = SyncCacheManager(CacheConfig(backend="memory"))
    with pytest.raises(UsageError, match="an event loop runs in this thread"):
        face.close()
    await asyncio.to_thread(face.close)


def test_two_who_close_do_so_one_after_the_other(pool: ThreadPoolExecutor) -> None:
    face, slow = SyncCacheManager(CacheConfig(backend="memory")), Slow()
    under_way = pool.submit(face.perform, slow.work)
    assert slow.began.wait(10)
    first = closing(pool, face, 60)
    second = pool.submit(face.close, 60)
    slow.go()
    for future in (first, second):
        future.result(10)
    assert under_way.result(10) == "done, open: True"
    assert not face._home.gate.is_shut


def test_a_gate_knows_of_no_calls_of_the_process_that_was_forked() -> None:
    gate = Gate()
    gate.enter(Visit(gate))
    gate.shut(Visit(gate), 0)
    gate.forget()
    assert not gate.is_shut
    assert gate.alone(60, lambda left: left) > 0  # nobody is inside
