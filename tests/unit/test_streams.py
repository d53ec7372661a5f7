"""A stream under way: any number of readers, each from the first chunk on, whenever they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.core.loading.flights import LoadCancelledError
from stoker.core.responses import streams
from stoker.core.responses.streams import Stream, StreamTooLargeError

LARGE = 2**30


async def source(chunks: list[Any], *, pauses: int = 1, error: Exception | None = None) -> AsyncIterator[Any]:
    for chunk in chunks:
        for _ in range(pauses):
            await asyncio.sleep(0)
        yield chunk
    if error is not None:
        raise error


async def read(
    stream: Stream[Any], *, wait: int = 0, leave_after: int | None = None, into: list[Any] | None = None
) -> list[Any]:
    """Read a stream, coming `wait` turns of the loop late, pausing at each chunk."""
    for _ in range(wait):
        await asyncio.sleep(0)
    found: list[Any] = [] if into is None else into
    with stream.joined() as reader:
        async for chunk in stream.read(reader):
            found.append(chunk)
            if leave_after is not None and len(found) >= leave_after:
                break
            await asyncio.sleep(0)
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=5), max_size=12),
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
    st.integers(0, 3),
)
def test_every_reader_gets_every_chunk_in_order(chunks: list[str], waits: list[int], pauses: int) -> None:
    async def run() -> None:
        stream = Stream[str](LARGE)
        readers = [asyncio.create_task(read(stream, wait=wait)) for wait in waits]
        assert await stream.run(source(chunks, pauses=pauses)) == chunks
        assert await asyncio.gather(*readers) == [chunks] * len(waits)

    asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(2, 12))
def test_readers_of_a_stream_that_is_too_large_get_every_chunk_too(leaving: list[int], count: int) -> None:
    """Some leave early; one stays to the end."""
    chunks = [f"{number}" * 1000 for number in range(count)]

    async def run() -> None:
        stream = Stream[str](1500)
        early = [asyncio.create_task(read(stream, leave_after=after)) for after in leaving]
        late = asyncio.create_task(read(stream))
        await asyncio.sleep(0)  # all of them are readers before the first chunk comes
        whole = await stream.run(source(chunks, pauses=0))
        assert whole is None
        assert not stream.is_whole
        assert await late == chunks
        for after, task in zip(leaving, early, strict=True):
            assert await task == chunks[:after]

    asyncio.run(run())


async def test_an_error_comes_after_the_chunks_before_it() -> None:
    stream = Stream[str](LARGE)
    reader = asyncio.create_task(read(stream))
    with pytest.raises(RuntimeError, match="broke"):
        await stream.run(source(["a", "b"], error=RuntimeError("broke")))
    with pytest.raises(RuntimeError, match="broke"):
        await reader

    got: list[str] = []
    with pytest.raises(RuntimeError, match="broke"):
        await read(stream, into=got)
    assert got == ["a", "b"]


async def test_who_cancels_the_stream_does_not_cancel_its_readers() -> None:
    stream, forever = Stream[str](LARGE), asyncio.Event()
    closed: list[bool] = []

    async def endless() -> AsyncIterator[str]:
        try:
            yield "a"
            await forever.wait()
        finally:
            closed.append(True)

    running = asyncio.create_task(stream.run(endless()))
    reader = asyncio.create_task(read(stream))
    await stream.begun
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(LoadCancelledError, match="cut off"):
        await reader
    assert closed == [True]


async def test_a_reader_that_is_cancelled_holds_nobody_up() -> None:
    stream = Stream[str](100)
    with_patience = asyncio.create_task(read(stream))
    without = asyncio.create_task(read(stream))
    await asyncio.sleep(0)
    running = asyncio.create_task(stream.run(source(["x" * 200] * 5)))
    await stream.begun
    without.cancel()
    assert await running is None
    assert await with_patience == ["x" * 200] * 5


async def test_a_stream_that_is_too_large_and_has_no_readers_is_given_up() -> None:
    stream = Stream[str](100)
    with pytest.raises(StreamTooLargeError, match="max_entry"):
        await stream.run(source(["x" * 200] * 5))


async def test_what_has_no_end_to_clean_up_is_a_source_too() -> None:
    class Numbers:
        """An iterator without `aclose`, as some clients have."""

        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    assert await Stream[int](LARGE).run(Numbers()) == [2, 1, 0]


async def test_a_reader_that_takes_nothing_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "STALLED_SECONDS", 0.02)
    stream = Stream[str](100)
    chunks = ["x" * 200] * 20
    with stream.joined() as stalled:
        reading = stream.read(stalled)
        running = asyncio.create_task(stream.run(source(chunks)))
        assert await anext(reading) == chunks[0]
        assert await read(stream) == chunks, "who reads has them all"
        assert await running is None
        with pytest.raises(StreamTooLargeError, match="took nothing"):
            await anext(reading)


async def test_a_reader_that_is_alone_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STALLED_SECONDS", 0.0)
    stream = Stream[str](100)
    chunks = ["x" * 200] * 3
    running = asyncio.create_task(stream.run(source(chunks)))
    with stream.joined() as reader:
        found: list[str] = []
        async for chunk in stream.read(reader):
            found.append(chunk)
            for _ in range(50):
                await asyncio.sleep(0)
    assert found == chunks
    assert await running is None


async def test_what_a_reader_does_to_a_chunk_is_its_own_business() -> None:
    stream = Stream[dict[str, int]](LARGE)
    running = asyncio.create_task(stream.run(source([{"n": 1}, {"n": 2}])))
    with stream.joined() as reader:
        async for chunk in stream.read(reader):
            chunk["n"] = -1
    assert await running == [{"n": 1}, {"n": 2}]
    assert await read(stream) == [{"n": 1}, {"n": 2}]


async def test_what_cannot_be_copied_is_passed_on_as_it_is() -> None:
    class Handle:
        def __deepcopy__(self, memo: object) -> Handle:
            raise TypeError("a handle")

    handle = Handle()
    stream = Stream[Handle](LARGE)
    running = asyncio.create_task(stream.run(source([handle])))
    assert await read(stream) == [handle]
    assert await running == [handle]


async def test_a_source_that_fails_to_close_has_given_all_the_same() -> None:
    class Numbers:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

        async def aclose(self) -> None:
            raise RuntimeError("the connection is closed already")

    assert await Stream[int](LARGE).run(Numbers()) == [1, 0]
