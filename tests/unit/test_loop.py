"""The event loop of a process: started when it is needed, stopped in order, safe to fork."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from stoker.core.sync.loop import LoopThread
from tests.waiting import wait_until


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    thread = LoopThread("test-loop")
    yield thread
    thread.stop()


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_it_starts_at_its_first_use_and_runs_what_threads_hand_it(loop: LoopThread) -> None:
    assert not loop.running
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(loop.run(answer(n)))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(20))
    assert loop.running
    assert len([thread for thread in threading.enumerate() if thread.name == "test-loop"]) == 1


def test_what_a_coroutine_raises_comes_back(loop: LoopThread) -> None:
    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        loop.run(fail())


def test_the_callers_context_travels_along(loop: LoopThread) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the caller")

    async def look() -> str:
        return variable.get()

    assert loop.run(look()) == "of the caller"


def test_nothing_goes_on_behind_a_caller_who_has_left(loop: LoopThread) -> None:
    began, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        loop.run(wait(), timeout=0.05)
    loop.run(answer(1))
    assert ended.is_set() == began.is_set()  # on a busy machine it may have had no time to begin


def test_stop_cancels_what_runs_and_a_later_use_starts_anew(loop: LoopThread) -> None:
    started, ended = threading.Event(), threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(loop.run, wait())
        assert started.wait(10)
        loop.stop()
        assert ended.is_set()
        with pytest.raises(CancelledError):
            future.result(10)
    assert not loop.running
    assert loop.run(answer(1)) == 1


def test_stopping_what_never_ran_is_nothing(loop: LoopThread) -> None:
    loop.stop()
    loop.stop()
    assert not loop.running


def test_a_loop_that_ends_by_itself_is_known_to_have_ended(loop: LoopThread) -> None:
    """Whoever waits is told, stopping it does nothing, and a later use starts anew."""
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def nothing() -> None:
        pass

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(loop.run, wait())
        assert begun.wait(10)
        assert loop.end_with(nothing)
        with pytest.raises(CancelledError):
            future.result(10)
    wait_until(lambda: not loop.running, "it has ended")
    assert not loop.end_with(nothing)
    loop.finish(nothing, 10)
    loop.stop()
    assert loop.run(answer(1)) == 1


@pytest.mark.parametrize("begins", [False, True])
def test_a_loop_whose_thread_could_not_be_started_starts_at_a_later_use(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    """No thread could be had, or a time limit falls when it begins."""
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        if begins:
            start(thread)
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as here:
        here.setattr(threading.Thread, "start", fails)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            loop.run(answer(1))
    gc.collect()  # a loop that was not closed is told of here
    assert not loop.running
    wait_until(lambda: "test-loop" not in names(), "it has ended")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: loop.run(answer(1))).result(10) == 1


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_a_forked_child_has_a_loop_of_its_own(loop: LoopThread) -> None:
    assert loop.run(answer(1)) == 1
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - runs in the child
        ok = not loop.running and loop.run(answer(2)) == 2 and loop.running
        loop.stop()
        os.write(writer, b"1" if ok else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"1"
    assert loop.run(answer(3)) == 3
    os.close(reader)
    os.close(writer)
    wait_until(lambda: loop.running, "the parent's own loop goes on")
