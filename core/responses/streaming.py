"""Answers that come as streams: passed through as they come, stored when they end, replayed as streams."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from stoker.core.entries.entry import encode_tags
from stoker.core.errors import UsageError
from stoker.core.loading.loads import Load, flight_here
from stoker.core.loading.serving import Reading
from stoker.core.manager import CacheManager
from stoker.core.responses.models import ResponseMetadata
from stoker.core.responses.stored import Stored
from stoker.core.responses.streams import Stream, StreamTooLargeError


class Streaming:
    """Reads of streams, over the loads of a manager.

    A stream is a load like any other: one of a key, in the fleet. Who asks while it is under way in this
    process follows it from its first chunk on, if nothing that it depends on was invalidated since it began;
    who asks in another process waits for its end.

    Args:
        manager: The cache.
        cache_type: The type that answers are stored under.
        stored_type: What they are stored as.
    """

    def __init__(self, manager: CacheManager, cache_type: str, stored_type: Any) -> None:
        self._manager = manager
        self._cache_type = cache_type
        self._policy = manager.policy(cache_type)
        self._live: dict[str, Stream[Any]] = {}
        self.load = self._make_load(stored_type)

    def _make_load(self, stored_type: Any) -> Any:
        async def load(
            request: Any, generate: Callable[[Any], Any], metadata: ResponseMetadata, stream: Stream[Any]
        ) -> Any:
            chunks = await self._run(stream, await _source(generate, request))
            return Stored[Any, Any](
                msgspec.structs.replace(metadata, cached_at=datetime.now(UTC)), chunks=chunks
            )

        load.__annotations__["return"] = stored_type
        return load

    async def _run(self, stream: Stream[Any], source: AsyncIterator[Any]) -> list[Any]:
        stream.flight = flight = flight_here()
        key = flight.key if flight is not None else ""
        self._live[key] = stream
        try:
            chunks = await stream.run(source)
        finally:
            if self._live.get(key) is stream:
                del self._live[key]
        if chunks is None:
            raise StreamTooLargeError(f"a stream of over {self._policy.max_entry} bytes is not stored")
        return chunks

    async def read(
        self, needed: Load, tags: Sequence[str], chunks_of: Callable[[Any], Iterable[Any]]
    ) -> AsyncGenerator[Any]:
        """Yield the chunks of an answer: stored ones, those of a stream under way, or of a new one.

        Args:
            needed: The load of the answer; its arguments lack the stream.
            tags: The answer's tags.
            chunks_of: Gives the chunks of a stored answer.

        Raises:
            Exception: Whatever the source raises.
        """
        counters = self._manager.counters.of(self._cache_type)
        self._manager.access.append((self._cache_type, needed.key, None))
        live = self._live.get(needed.key)
        if live is not None and await self._may_follow(live, needed.key, encode_tags(tags)):
            counters.misses += 1
            counters.loads_joined += 1
            with live.joined() as reader:
                async with contextlib.aclosing(live.read(reader)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            return
        stream = Stream[Any](self._policy.max_entry)
        needed = replace(needed, args=(*needed.args, stream))
        reading = asyncio.create_task(self._manager.serving.read(needed, self._policy, counters))
        reading.add_done_callback(_look_at_its_error)
        try:
            async with contextlib.aclosing(_chunks(stream, reading, needed, chunks_of)) as chunks:
                async for chunk in chunks:
                    yield chunk
            await asyncio.wait([reading])  # it is stored, if it could be
        finally:
            reading.cancel()  # the load itself goes on

    async def _may_follow(self, stream: Stream[Any], key: str, tags: tuple[bytes, ...]) -> bool:
        """Whether a stream under way may serve who asks now: as a load is joined, but before it has ended."""
        log, flights = self._manager.log, self._manager.flights
        if not await log.catch_up():
            return False
        view, flight = flights.view(), stream.flight
        if flight is None or not stream.is_whole or flights.find(self._cache_type, key, view) is not flight:
            return False
        return flight.known >= view.known or not log.killer(self._cache_type, key, tags, flight.born)


async def _chunks(
    stream: Stream[Any],
    reading: asyncio.Task[Reading[Any]],
    needed: Load,
    chunks_of: Callable[[Any], Iterable[Any]],
) -> AsyncGenerator[Any]:
    """Yield what a stream gives if it begins, or what its reading has found that needed none."""
    with stream.joined() as reader:
        waiting: set[asyncio.Future[Any]] = {reading, stream.begun}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if stream.begun.done():
            given = False
            try:
                async with contextlib.aclosing(stream.read(reader)) as chunks:
                    async for chunk in chunks:
                        given = True
                        yield chunk
            except Exception:  # models raise what they like; nobody has heard of it unless chunks were given
                if given:
                    raise
            else:
                return
    # Nothing was given: the answer is what the reading says, be it an error or something older.
    try:
        stored = (await reading).value
    except StreamTooLargeError:
        request, generate = needed.args[:2]
        async for chunk in await _source(generate, request):  # nobody will have it stored
            yield chunk
        return
    for chunk in chunks_of(stored):
        yield chunk


async def _source(generate: Callable[[Any], Any], request: Any) -> AsyncIterator[Any]:
    """Ask the model for its stream.

    Raises:
        UsageError: What it gives is none.
    """
    source = generate(request)
    if inspect.isawaitable(source):
        source = await source
    if not hasattr(source, "__aiter__"):
        raise UsageError(f"a stream is an async iterator of chunks, not a {type(source).__qualname__}")
    return aiter(source)


def _look_at_its_error(reading: asyncio.Task[Any]) -> None:
    """Who reads the stream is told by the stream."""
    if not reading.cancelled():
        reading.exception()
