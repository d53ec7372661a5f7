"""Between threads and an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import gc
import inspect
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from stoker.core import UsageError
from stoker.core.sync.handover import async_form
from stoker.core.sync.loop import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread("test-loop")
    yield thread
    thread.stop()


def where() -> str:
    return threading.current_thread().name


def test_a_plain_function_runs_in_the_thread_that_waits(loop: LoopThread) -> None:
    plain = async_form(where)
    assert loop.run(plain()) == threading.current_thread().name

    async def through_tasks() -> list[str]:
        return list(await asyncio.gather(plain(), asyncio.create_task(plain())))

    assert loop.run(through_tasks()) == [threading.current_thread().name] * 2


async def test_where_no_thread_waits_it_has_one_of_its_own() -> None:
    assert await async_form(where)() == "stoker-load"


def test_who_has_left_is_not_asked_any_more(loop: LoopThread) -> None:
    places: list[str] = []

    async def start() -> asyncio.Task[None]:
        return asyncio.create_task(behind())

    async def behind() -> None:
        await asyncio.sleep(0)  # its starter returns meanwhile
        places.append(await async_form(where)())

    task = loop.run(start())

    async def end() -> None:
        await task

    loop.run(end())
    assert places == ["stoker-load"]


def test_what_was_asked_for_and_not_begun_is_done_elsewhere(loop: LoopThread) -> None:
    """The thread is interrupted in one of two: only the loop waits for the other now."""
    places: list[str] = []
    done = threading.Event()

    class Interrupt(BaseException):
        pass

    def interrupted() -> None:
        raise Interrupt

    def other() -> None:
        places.append(where())
        done.set()

    async def both() -> None:
        tasks = asyncio.create_task(async_form(interrupted)()), asyncio.create_task(async_form(other)())
        kept.extend(tasks)
        await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True))

    kept: list[asyncio.Task[None]] = []
    with pytest.raises(Interrupt):
        loop.run(both())
    assert done.wait(20)
    assert places == ["stoker-load"]


def test_the_loops_own_thread_cannot_wait_for_itself(loop: LoopThread) -> None:
    async def inside() -> None:
        loop.run(asyncio.sleep(0))

    with pytest.raises(UsageError, match="the event loop's own thread"):
        loop.run(inside())


def test_what_making_the_coroutine_raises_comes_back(loop: LoopThread) -> None:
    def make() -> Any:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        loop.call(make)


def test_what_a_caller_left_before_it_began_never_begins(loop: LoopThread) -> None:
    stands, begun = threading.Event(), list[int]()

    async def work() -> None:
        begun.append(1)

    loop.loop().call_soon_threadsafe(stands.wait, 20)
    with pytest.raises(TimeoutError):
        loop.run(work(), timeout=0.01)
    stands.set()
    loop.run(asyncio.sleep(0))
    gc.collect()  # a coroutine that was never awaited is told of here
    assert not begun


def test_a_caller_who_waits_when_the_loop_stops_is_told(loop: LoopThread) -> None:
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(loop.run, wait())
        assert begun.wait(20)
        loop.stop()
        with pytest.raises(concurrent.futures.CancelledError):
            answer.result(20)


def test_forms_are_made_once_and_go_with_their_function() -> None:
    def function() -> int:
        """Documented."""
        return 1

    form = async_form(function)
    assert async_form(function) is form
    assert inspect.iscoroutinefunction(form)
    assert (form.__name__, form.__doc__, inspect.unwrap(form)) == ("function", "Documented.", function)
    gone = weakref.ref(function)
    del function, form
    gc.collect()
    assert gone() is None


async def test_other_callables_have_forms_too() -> None:
    class Adder:
        def add(self, number: int) -> int:
            return number + 1

        async def add_later(self, number: int) -> int:
            return number + 2

    assert await async_form(Adder().add)(1) == 2
    assert await async_form(Adder().add_later)(1) == 3
    assert await async_form(functools.partial(Adder().add, 2))() == 3
    assert await async_form(lambda: Adder().add_later(2))() == 4
    assert await async_form(int)("5") == 5


def test_results_and_errors_find_their_way(loop: LoopThread) -> None:
    def fail() -> None:
        raise KeyError("x")

    async def catch() -> str:
        try:
            await async_form(fail)()
        except KeyError as error:
            return f"caught {error}"
        return "nothing"

    assert loop.run(catch()) == "caught 'x'"
