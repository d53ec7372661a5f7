"""What interrupts a thread that waits for a cache: what it owes is done all the same, and nobody suffers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stoker.core import CacheConfig, Key, SyncCacheManager, cached, invalidate_on_write
from stoker.core.sync.gate import Visit
from tests.managers import make_config
from tests.moments import Moments, TimeLimit
from tests.servers import RedisServer
from tests.waiting import wait_until

KEY = "users:1"


@pytest.fixture(params=["page", "near", "here"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cache(redis_server: RedisServer, prefix: str) -> Iterator[SyncCacheManager]:
    near = ["memory", "redis"]
    config = make_config(redis_server, prefix, page={}, near={"tiers": near}, here={"tiers": ["memory"]})
    with SyncCacheManager(config) as face:
        yield face


@pytest.fixture
def alarm() -> Iterator[Callable[[], None]]:
    """Sets an alarm that raises in the main thread, as Celery's time limits do."""

    def raises(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, raises)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.05) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


Write = Callable[[SyncCacheManager, str, Callable[[], None]], object]


def write_function(cache: SyncCacheManager, kind: str, write: Callable[[], None]) -> None:
    invalidate_on_write(cache, "users", cache_type=kind)(write)()


def write_through(cache: SyncCacheManager, kind: str, write: Callable[[], None]) -> None:
    with cache.write_through(kind, KEY):
        write()


def after(end: Callable[[SyncCacheManager, str], object]) -> Write:
    def run(cache: SyncCacheManager, kind: str, write: Callable[[], None]) -> None:
        write()
        end(cache, kind)

    return run


WRITES: dict[str, Write] = {
    "a function": write_function,
    "a block": write_through,
    "delete": after(lambda cache, kind: cache.delete(kind, KEY)),
    "delete_many": after(lambda cache, kind: cache.delete_many(kind, [KEY])),
    "invalidate": after(lambda cache, kind: cache.invalidate(Key(kind, KEY))),
    "invalidate_tags": after(lambda cache, _: cache.invalidate_tags("users")),
    "invalidate_type": after(lambda cache, kind: cache.invalidate_type(kind)),
    "invalidate_pattern": after(lambda cache, kind: cache.invalidate_pattern(kind, "users:*")),
    "a view's delete": after(lambda cache, kind: cache.cache(kind).delete(KEY)),
    "a view's invalidate": after(lambda cache, kind: cache.cache(kind).invalidate("users:*")),
    "a view's invalidate_keys": after(lambda cache, kind: cache.cache(kind).invalidate_keys(KEY)),
    "a view's clear": after(lambda cache, kind: cache.cache(kind).clear()),
    "a view's clear_beginning": after(lambda cache, kind: cache.cache(kind).clear_beginning("users")),
}


@pytest.mark.parametrize("way", WRITES)
def test_a_time_limit_after_a_write_keeps_no_invalidation_from_being_made(
    cache: SyncCacheManager, kind: str, alarm: Callable[[], None], way: str
) -> None:
    rows, stands = {KEY: "old"}, threading.Event()

    def write() -> None:
        rows[KEY] = "new"
        cache._home.loop.loop().call_soon_threadsafe(stands.wait, 20)  # the loop is busy with something else
        alarm()

    def read() -> str:
        return cache.get_or_load(kind, KEY, rows.__getitem__, KEY)

    assert cache.set(kind, KEY, "old", tags=["users"])
    with pytest.raises(TimeLimit):
        WRITES[way](cache, kind, write)
    stands.set()
    wait_until(lambda: read() == "new", "what was stored before is dead")


@pytest.mark.parametrize("way", ["a function", "a block", "delete"])
def test_a_time_limit_before_the_cache_has_heard_of_it_loses_no_invalidation(
    cache: SyncCacheManager, alarm: Callable[[], None], way: str
) -> None:
    rows, gate = {KEY: "old"}, cache._home.gate
    closing = Visit(gate)

    def write() -> None:
        rows[KEY] = "new"
        gate.shut(closing, 0)  # another thread closes the cache: calls wait
        alarm()

    assert cache.set("page", KEY, "old")
    with pytest.raises(TimeLimit):
        WRITES[way](cache, "page", write)
    gate.leave(closing)
    wait_until(lambda: not cache.exists("page", KEY), "what was stored before is dead")


@pytest.mark.parametrize("way", ["a function", "a block", "delete"])
def test_an_invalidation_is_made_though_another_thread_closes_the_cache(
    own_redis_server: RedisServer, way: str
) -> None:
    config = make_config(own_redis_server, "closed", page={})
    rows, admin = {KEY: "old"}, own_redis_server.client()

    def write() -> None:
        rows[KEY] = "new"
        admin.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")

    with SyncCacheManager(config) as cache, SyncCacheManager(config) as reader, ThreadPoolExecutor(1) as pool:
        assert cache.set("page", KEY, "old")
        written = pool.submit(WRITES[way], cache, "page", write)
        wait_until(lambda: rows[KEY] == "new" and cache._home.gate._calls, "it waits for the server")
        cache.close(0)
        admin.execute_command("CLIENT", "UNPAUSE")
        written.result(20)
        assert reader.get("page", KEY) is None


def test_a_function_whose_cache_is_closed_by_another_thread_returns_what_it_returns(
    cache: SyncCacheManager,
) -> None:
    wrote, stands = threading.Event(), threading.Event()

    @invalidate_on_write(cache, "users", cache_type="page")
    def write() -> str:
        cache._home.loop.loop().call_soon_threadsafe(stands.wait, 20)
        wrote.set()
        return "written"

    with ThreadPoolExecutor(2) as pool:
        written = pool.submit(write)
        assert wrote.wait(20)
        wait_until(lambda: cache._home.gate._calls, "it waits for the loop")
        closed = pool.submit(cache.close, 0)
        wait_until(lambda: cache._home.gate.is_shut, "it closes")
        stands.set()
        assert written.result(20) == "written"
        closed.result(20)


def test_a_function_is_called_though_another_thread_closes_the_cache_as_it_connects(
    own_redis_server: RedisServer,
) -> None:
    cache = SyncCacheManager(make_config(own_redis_server, "closed", page={}))

    @invalidate_on_write(cache, "users", cache_type="page")
    def write() -> str:
        return "written"

    own_redis_server.freeze()
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write)
        wait_until(lambda: cache._home.loop.running, "it connects")
        began = time.monotonic()
        cache.close(0)
        assert time.monotonic() - began < 5, "a server that is gone was not waited for"
        own_redis_server.thaw()
        assert written.result(20) == "written"
    cache.close()


def test_a_time_limit_at_any_step_of_paying_loses_no_invalidation(cache: SyncCacheManager) -> None:
    rows, passed = {KEY: 0}, Moments("owed.py")

    @invalidate_on_write(cache, "users", cache_type="page")
    def write(moment: int) -> None:
        rows[KEY] = moment

    for moment in passed:
        assert cache.set("page", KEY, moment - 1)
        rows[KEY] = moment - 1
        with passed.raising_there():
            write(moment)
        if rows[KEY] == moment:
            wait_until(lambda: not cache.exists("page", KEY), "what was stored before is dead")
    assert passed.moment > 4, "it was raised somewhere"


@pytest.mark.parametrize("fails", [False, True])
def test_a_time_limit_at_any_step_of_a_block_s_end_loses_no_invalidation(
    cache: SyncCacheManager, fails: bool
) -> None:
    rows, passed = {KEY: 0}, Moments("write_block.py", "owed.py")
    for moment in passed:
        assert cache.set("page", KEY, moment - 1)
        rows[KEY] = moment - 1
        with (
            passed.raising_there(),
            contextlib.suppress(ZeroDivisionError),
            cache.write_through("page", KEY) as write,
        ):
            rows[KEY] = write.value = moment
            if fails:
                raise ZeroDivisionError
        if rows[KEY] == moment:
            wait_until(lambda: cache.get("page", KEY) in {None, rows[KEY]}, "what was stored before is dead")
    assert passed.moment > 5, "it was raised somewhere"


def test_an_invalidation_that_no_thread_can_make_is_told_of(
    cache: SyncCacheManager,
    alarm: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stands = threading.Event()
    cache._home.loop.loop().call_soon_threadsafe(stands.wait, 20)
    with monkeypatch.context() as here:
        here.setattr(threading.Thread, "start", no_thread)
        alarm()
        with pytest.raises(TimeLimit):
            cache.delete("page", KEY)
    stands.set()
    assert [record.getMessage() for record in caplog.records if record.name.endswith("owed")] == [
        'action=invalidation_lost error=RuntimeError("can\'t start new thread")'
    ]


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize("whole", [False, True])
def test_a_cached_function_is_invalidated_whatever_interrupts_it(
    cache: SyncCacheManager, alarm: Callable[[], None], whole: bool
) -> None:
    rows, stands = {1: "old"}, threading.Event()

    @cached(cache, "users", cache_type="page")
    def find(number: int) -> str:
        return rows[number]

    assert find(1) == "old"
    rows[1] = "new"
    cache._home.loop.loop().call_soon_threadsafe(stands.wait, 20)
    alarm()
    with pytest.raises(TimeLimit):
        find.invalidate_all() if whole else find.invalidate(1)
    stands.set()
    wait_until(lambda: find(1) == "new", "what was stored before is dead")


def test_a_time_limit_at_any_moment_leaves_the_cache_usable(cache: SyncCacheManager) -> None:
    passed = Moments("gate.py", "threading.py")
    with ThreadPoolExecutor(1) as pool:
        for moment in passed:
            with passed.raising_there():
                cache.set("here", KEY, moment)
            assert pool.submit(cache.set, "here", KEY, "again").result(20)
            assert not cache._home.gate._calls
    assert passed.moment > 5, "it was raised somewhere"


def test_a_time_limit_at_any_moment_of_closing_leaves_the_cache_usable() -> None:
    cache = SyncCacheManager(CacheConfig(backend="memory"))
    passed = Moments("gate.py", "home.py", "loop.py", "threading.py")
    with ThreadPoolExecutor(1) as pool:
        for moment in passed:
            assert pool.submit(cache.set, "db_query", KEY, moment).result(20)
            with passed.raising_there():
                cache.close()
            assert not cache._home.gate.is_shut
    assert passed.moment > 20, "it was raised somewhere"
    cache.close()


def test_an_interrupted_close_lets_calls_in(cache: SyncCacheManager, alarm: Callable[[], None]) -> None:
    began, go_on = threading.Event(), threading.Event()

    def load() -> str:
        began.set()
        go_on.wait(20)
        return "loaded"

    with ThreadPoolExecutor(2) as pool:
        loading = pool.submit(cache.get_or_load, "page", "k", load)
        assert began.wait(20)
        alarm()
        with pytest.raises(TimeLimit):
            cache.close(60)
        assert pool.submit(cache.set, "page", "other", 1).result(20)
        go_on.set()
        assert loading.result(20) == "loaded"


def test_an_invalidation_that_is_refused_is_not_tried_again(
    cache: SyncCacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", started.append)
    with pytest.raises(ValueError, match="nothing to invalidate"):
        cache.invalidate()
    assert not started


class Interrupt(BaseException):
    pass


async def readers(_: Any) -> int:
    """How many calls wait for something that is loaded."""
    return sum(" Reads." in repr(task.get_coro()) for task in asyncio.all_tasks())


def test_who_joined_a_load_whose_thread_is_interrupted_loads_for_himself(cache: SyncCacheManager) -> None:
    began, go_on = threading.Event(), threading.Event()

    def interrupted() -> str:
        began.set()
        go_on.wait(20)
        raise Interrupt

    def load_many(keys: list[str]) -> dict[str, str]:
        return dict.fromkeys(keys, "own")

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(cache.get_or_load, "here", "k", interrupted)
        assert began.wait(20)
        others = [pool.submit(cache.get_or_load, "here", "k", lambda: "own") for _ in range(2)]
        many = pool.submit(cache.get_or_load_many, "here", ["k"], load_many)
        wait_until(lambda: cache.perform(readers) == 4, "they wait for the load")
        go_on.set()
        with pytest.raises(Interrupt):
            first.result(20)
        assert [other.result(20) for other in others] == ["own", "own"]
        assert many.result(20) == {"k": "own"}


def test_who_joined_a_batch_whose_thread_is_interrupted_loads_for_himself(cache: SyncCacheManager) -> None:
    began, go_on = threading.Event(), threading.Event()

    def interrupted(_: list[str]) -> dict[str, str]:
        began.set()
        go_on.wait(20)
        raise Interrupt

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get_or_load_many, "here", ["k", "l"], interrupted)
        assert began.wait(20)
        other = pool.submit(cache.get_or_load, "here", "k", lambda: "own")
        wait_until(lambda: cache.perform(readers) == 2, "it waits for the load")
        go_on.set()
        with pytest.raises(Interrupt):
            first.result(20)
        assert other.result(20) == "own"
