"""Loads for callers without an event loop: in which thread a loader runs, who waits, what comes through."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from stoker.core import (
    NOT_MODIFIED,
    NotModified,
    Recipe,
    SyncCacheManager,
    UsageError,
    cached,
    loader,
    previous,
)
from stoker.core.loading.threads import MOST_THREADS
from tests.managers import make_config, make_manager
from tests.servers import RedisServer
from tests.waiting import wait_until

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


def test_a_plain_loader_runs_in_the_thread_that_asks(cache: SyncCacheManager) -> None:
    places: list[threading.Thread] = []

    def load(n: int, *, add: int = 0) -> Item:
        places.append(threading.current_thread())
        return Item(n + add)

    assert cache.get_or_load("page", "k", load, 1, add=2) == Item(3)
    assert cache.get_or_load("page", "k", load, 9) == Item(3)
    reading = cache.read("page", "k", load, 9)
    assert (reading.value, reading.outcome) == (Item(3), "hit")
    assert places == [threading.current_thread()]


def test_an_async_loader_runs_on_the_loop(cache: SyncCacheManager) -> None:
    async def load(n: int) -> tuple[int, str]:
        return n, threading.current_thread().name

    value = cache.get_or_load("page", "k", load, 1)
    assert value == (1, "stoker-loop")
    assert cache.get_or_load("page", "k", load, 2) == value


async def test_the_worker_can_load_what_a_plain_function_returns(
    redis_server: RedisServer, prefix: str
) -> None:
    face = SyncCacheManager(make_config(redis_server, prefix, **POLICIES))
    places: list[str] = []

    @cached(face, "items", cache_type="page")
    def find(number: int) -> Item:
        places.append(threading.current_thread().name)
        return Item(number)

    key = find.key(1)
    async with make_manager(redis_server, prefix, **POLICIES) as worker:  # type: ignore[arg-type]
        recipe = Recipe(key.rpartition(":")[0], (1,))
        assert (await worker.reload("page", key, recipe)).value == Item(1)
    assert await asyncio.to_thread(find, 1) == Item(1)
    assert places == ["stoker-load"]
    await asyncio.to_thread(face.close)


def test_many_are_loaded_with_one_call(cache: SyncCacheManager) -> None:
    calls: list[list[str]] = []

    def load(keys: list[str]) -> dict[str, Item]:
        calls.append(keys)
        return {key: Item(int(key)) for key in keys if key != "9"}

    assert cache.get_or_load_many("page", ["1", "9"], load) == {"1": Item(1)}
    assert cache.get_or_load_many("page", ["1", "2"], load, tags=lambda _: ["t"], ttl=30) == {
        "1": Item(1),
        "2": Item(2),
    }
    assert calls == [["1", "9"], ["2"]]


def test_a_loader_may_say_that_nothing_has_changed(cache: SyncCacheManager) -> None:
    found: list[Any] = []

    @loader("tests.sync.feed", cache_type="stale")
    async def load_feed() -> str | NotModified:
        known = previous()
        found.append(known and known.value)
        return "feed" if known is None else NOT_MODIFIED

    assert cache.get_or_load("stale", "k", load_feed) == "feed"
    wait_until(lambda: cache.ttl("stale", "k") is None, "its TTL has passed")
    assert cache.get_or_load("stale", "k", load_feed) == "feed"
    wait_until(lambda: found == [None, "feed"], "it was loaded again behind the answer")


def test_what_a_loader_raises_comes_through_with_its_traceback(cache: SyncCacheManager) -> None:
    def load() -> None:
        raise LookupError("gone")

    def stop() -> None:
        raise StopIteration

    with pytest.raises(LookupError, match="gone") as raised:
        cache.get_or_load("page", "k", load)
    assert any(entry.name == "load" for entry in raised.traceback)
    with pytest.raises(RuntimeError, match="StopIteration"):
        cache.get_or_load("page", "k", stop)


def test_what_ends_the_thread_is_not_taken_for_a_failing_loader(cache: SyncCacheManager) -> None:
    class Interrupt(BaseException):
        pass

    def load() -> int:
        raise Interrupt

    with pytest.raises(Interrupt):
        cache.get_or_load("page", "k", load)
    assert cache.get_or_load("page", "k", lambda: 5) == 5


def test_an_old_entry_answers_for_a_failing_loader(cache: SyncCacheManager) -> None:
    def fail() -> str:
        raise ConnectionError

    cache.get_or_load("safe", "k", lambda: "old")
    wait_until(lambda: cache.ttl("safe", "k") is None, "its TTL has passed")
    reading = cache.read("safe", "k", fail)
    assert (reading.value, reading.outcome) == ("old", "stale")


def test_what_nobody_waits_for_is_loaded_in_a_thread_of_its_own(cache: SyncCacheManager) -> None:
    places: list[str] = []

    def load() -> str:
        places.append(threading.current_thread().name)
        return f"load {len(places)}"

    assert cache.get_or_load("stale", "k", load) == "load 1"
    wait_until(lambda: cache.ttl("stale", "k") is None, "its TTL has passed")
    assert cache.get_or_load("stale", "k", load) == "load 1"  # at once, and loaded again behind it
    wait_until(lambda: cache.get_or_load("stale", "k", load) == "load 2", "it was loaded again")
    assert places[:2] == [threading.current_thread().name, "stoker-load"]


def test_entries_are_loaded_again_in_so_many_threads_and_no_more(cache: SyncCacheManager) -> None:
    keys, go_on, calls = [str(n) for n in range(3 * MOST_THREADS)], threading.Event(), Counter[str]()

    def load(key: str) -> str:
        calls[key] += 1
        go_on.wait(20)
        return "new"

    def load_many(missing: list[str]) -> dict[str, str]:
        return {key: load(key) for key in missing}

    def at_work() -> int:
        return sum(thread.name == "stoker-load" for thread in threading.enumerate())

    cache.set_many("stale", dict.fromkeys(keys, "old"))
    wait_until(lambda: cache.ttl("stale", keys[-1]) is None, "their TTL has passed")
    for key in keys:
        assert cache.get_or_load("stale", key, load, key) == "old"
        assert cache.get_or_load_many("stale", [key], load_many) == {key: "old"}
    wait_until(lambda: at_work() >= MOST_THREADS, "they are loaded again")
    assert at_work() <= MOST_THREADS + 2
    last = keys[-1]
    assert not calls[last]
    go_on.set()
    wait_until(lambda: cache.get_or_load("stale", last, load, last) == "new", "then the others are, too")


def test_many_threads_share_one_load(cache: SyncCacheManager) -> None:
    calls, waiting = 0, threading.Barrier(20)
    go_on = threading.Event()

    def load(n: int) -> int:
        nonlocal calls
        calls += 1
        go_on.wait(20)
        return n

    def ask() -> int:
        waiting.wait(20)
        return cache.get_or_load("page", "k", load, 5)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(ask) for _ in range(20)]
        wait_until(lambda: calls, "one load has begun")
        go_on.set()
        assert [answer.result(20) for answer in answers] == [5] * 20
    assert calls == 1


def test_threads_that_load_different_keys_dont_wait_for_each_other(cache: SyncCacheManager) -> None:
    together = threading.Barrier(10)

    def load(n: int) -> int:
        together.wait(20)  # all of them are in their loaders at once
        return n

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(cache.get_or_load, "page", f"k{n}", load, n) for n in range(10)]
        assert [answer.result(20) for answer in answers] == list(range(10))


def test_loaders_may_read_through_the_cache(cache: SyncCacheManager) -> None:
    def inner(n: int) -> int:
        return n + 1

    def outer(n: int) -> int:
        return cache.get_or_load("page", f"inner{n}", inner, n) + 10

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(cache.get_or_load, "page", f"outer{n}", outer, n) for n in range(20)]
        assert [answer.result(20) for answer in answers] == [n + 11 for n in range(20)]


def test_a_loader_that_waits_for_itself_is_told_so(cache: SyncCacheManager) -> None:
    def load() -> int:
        return cache.get_or_load("page", "k", load)

    with pytest.raises(UsageError, match="waits for that very load"):
        cache.get_or_load("page", "k", load)


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("tests.sync", default="")


def test_the_callers_context_reaches_its_loader(cache: SyncCacheManager) -> None:
    VARIABLE.set("of the caller")
    assert cache.get_or_load("page", "k", VARIABLE.get) == "of the caller"


def test_a_call_may_have_a_limit_and_is_cancelled_by_it(cache: SyncCacheManager) -> None:
    began, ended = threading.Event(), threading.Event()

    async def wait(_: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError, match="did not answer in time"):
        cache.perform(wait, timeout=0.01)
    cache.perform(_nothing)
    assert ended.is_set() == began.is_set()  # on a busy machine it may have had no time to begin


async def _nothing(_: Any) -> None: ...


class TimeLimit(Exception):  # noqa: N818  as Celery's SoftTimeLimitExceeded
    pass


@pytest.fixture
def alarm() -> Iterator[Callable[[], None]]:
    """Sets an alarm that raises in the main thread, as Celery's time limits do."""

    def raises(*_: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, raises)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.05) and None
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_time_limit_ends_the_wait_and_what_it_waited_for(
    cache: SyncCacheManager, alarm: Callable[[], None]
) -> None:
    began, ended = threading.Event(), threading.Event()

    async def wait(_: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    alarm()
    with pytest.raises(TimeLimit):
        cache.perform(wait)
    cache.perform(_nothing)
    assert ended.is_set() == began.is_set()  # on a busy machine it may have had no time to begin
    assert cache.set("page", "k", 1)  # the connection is as good as before


def test_a_time_limit_in_a_loader_is_raised_in_its_thread_and_nothing_is_stored(
    cache: SyncCacheManager, alarm: Callable[[], None]
) -> None:
    def load() -> str:
        alarm()
        threading.Event().wait()
        return "never"

    with pytest.raises(TimeLimit):
        cache.get_or_load("page", "k", load)
    assert cache.get_or_load("page", "k", lambda: "again") == "again"


def test_a_time_limit_of_celery_s_passes_an_old_entry_by(cache: SyncCacheManager) -> None:
    """It is an `Exception`, as what a failing loader raises."""

    def limited() -> str:
        raise SoftTimeLimitExceeded  # as the handler of the signal does, wherever the thread is

    cache.get_or_load("safe", "k", lambda: "old")
    wait_until(lambda: cache.ttl("safe", "k") is None, "its TTL has passed")
    with pytest.raises(SoftTimeLimitExceeded):
        cache.get_or_load("safe", "k", limited)
    reading = cache.read("safe", "k", lambda: "new")
    assert (reading.value, reading.outcome) == ("new", "miss")


def test_a_load_that_takes_too_long_is_given_up(cache: SyncCacheManager) -> None:
    async def slow() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"hasty:k was not loaded within load_timeout=0\.05 s"):
        cache.get_or_load("hasty", "k", slow)
    with pytest.raises(TimeoutError, match=r"hasty:k was not loaded within load_timeout=0\.05 s"):
        cache.get_or_load_many("hasty", ["k"], lambda _: slow())  # type: ignore[arg-type,return-value]
    late = threading.Event()

    def plain() -> int:
        late.wait(0.2)  # longer than the type's load_timeout; nothing can end it before
        return 5

    with pytest.raises(TimeoutError):
        cache.get_or_load("hasty", "k", plain)


def test_a_limit_while_another_thread_loads_leaves_that_load_alone(cache: SyncCacheManager) -> None:
    began, go_on = threading.Event(), threading.Event()

    def load() -> str:
        began.set()
        go_on.wait(20)
        return "loaded"

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(cache.get_or_load, "page", "k", load)
        assert began.wait(20)
        with pytest.raises(TimeoutError):
            cache.perform(lambda manager: manager.get_or_load("page", "k", _never), timeout=0.01)
        go_on.set()
        assert answer.result(20) == "loaded"
    assert cache.get("page", "k") == "loaded"


async def _never() -> str:
    raise AssertionError("it joins the other load")
