"""Answers that come as streams: passed through as they come, stored when they end, replayed as streams."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from stoker.core.counters import TypeCounters
from stoker.core.entries.codec import UnstorableError, as_read
from stoker.core.entries.entry import encode_tags
from stoker.core.errors import EntryError, UsageError
from stoker.core.loading.flights import Flight
from stoker.core.loading.loads import Load, load_of
from stoker.core.loading.serving import Reading
from stoker.core.manager import CacheManager
from stoker.core.responses.models import ResponseMetadata
from stoker.core.responses.stored import Stored
from stoker.core.responses.streams import Reader, Stream, StreamTooLargeError, close_source, own_copy

logger = logging.getLogger(__name__)

#: A reader that is told so often that what it waited for is too large asks the model for itself.
MAX_READINGS = 5


class _AskAgainError(Exception):
    """What a reader waited for is no answer to it."""


class _NothingGivenError(Exception):
    """A stream broke off before its first chunk."""


_Place: TypeAlias = tuple[Stream[Any], Reader]
"""A stream, and a place among its readers."""


class Streaming:
    """Reads of streams, over the loads of a manager.

    A stream is a load like any other: one of a key, in the fleet. Who asks while it is under way in this
    process follows it from its first chunk on, if nothing that it depends on was invalidated since it began;
    who asks in another process waits for its end.

    Args:
        manager: The cache.
        cache_type: The type that answers are stored under.
        stored_type: What they are stored as,
        chunk_type: and their chunks.
    """

    def __init__(self, manager: CacheManager, cache_type: str, stored_type: Any, chunk_type: Any) -> None:
        self._manager = manager
        self._cache_type = cache_type
        self._policy = manager.policy(cache_type)
        self._chunk_type = chunk_type
        self._chunks_type: Any = list[chunk_type]
        self._told_unreadable = False
        self._live: dict[str, Stream[Any]] = {}
        self._waiting: dict[str, dict[Stream[Any], asyncio.Future[_Place]]] = {}
        """By key and their own streams, which may never begin: those who would follow another one."""
        self.load = self._make_load(stored_type)

    def _make_load(self, stored_type: Any) -> Any:
        async def load(
            request: Any, generate: Callable[[Any], Any], metadata: ResponseMetadata, stream: Stream[Any]
        ) -> Any:
            under_way = load_of(load)
            if under_way is None:
                raise UsageError("a stream is loaded by its cache, not called")
            flight, own = under_way
            stream.flight, stream.behind = flight, own.behind
            chunks = await self._run(stream, flight, await _source(generate, request))
            flight.storable = self._is_readable(chunks)
            return Stored[Any, Any](
                msgspec.structs.replace(metadata, cached_at=datetime.now(UTC)), chunks=chunks
            )

        load.__annotations__["return"] = stored_type
        return load

    async def _run(self, stream: Stream[Any], flight: Flight, source: AsyncIterator[Any]) -> list[Any]:
        key = flight.key
        self._live[key] = stream
        for own, begins in self._waiting.get(key, {}).items():
            if own is not stream and not begins.done():
                begins.set_result((stream, stream.join()))  # from its first chunk on, however fast they come
        try:
            chunks = await stream.run(source)
        finally:
            if self._live.get(key) is stream:
                del self._live[key]
        if chunks is None:
            raise StreamTooLargeError(f"a stream of over {self._policy.max_entry} bytes is not stored")
        return chunks

    def _is_readable(self, chunks: list[Any]) -> bool:
        """Whether chunks are of the type that they would be read as; where not, that is counted and told."""
        try:
            as_read(chunks, self._chunks_type)
        except UnstorableError:
            return True  # who stores them says why they can't be stored
        except EntryError:
            self._manager.counters.of(self._cache_type).unstorable += 1
            if not self._told_unreadable:
                self._told_unreadable = True
                self._tell_unreadable(chunks)
            return False
        return True

    def _tell_unreadable(self, chunks: list[Any]) -> None:
        kinds = ", ".join(sorted({type(chunk).__qualname__ for chunk in chunks})[:3])
        logger.warning(
            "action=stream_unstorable cache_type=%s reason=its chunks (%s) can't be read as %r: make the "
            "ResponseCache with chunk_type=…",
            self._cache_type,
            kinds,
            self._chunk_type,
            extra={"action": "stream_unstorable"},
        )

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
        counters, encoded = self._manager.counters.of(self._cache_type), encode_tags(tags)
        self._manager.access.append((self._cache_type, needed.key, None))
        uncounted: TypeCounters | None = None
        for _ in range(MAX_READINGS):
            live = await self._find_live(needed.key, encoded)
            if live is not None and live.first.done():
                if uncounted is None:
                    counters.misses += 1
                    counters.loads_joined += 1
                with live.joined() as reader:
                    async with contextlib.aclosing(live.read(reader)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                return
            again = False
            try:
                asking = self._ask(needed, encoded, uncounted or counters, chunks_of, live)
                async with contextlib.aclosing(asking) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except _AskAgainError:
                again = True
            if not again:
                return
            uncounted = uncounted or TypeCounters()
        request, generate = needed.args[:2]
        async with contextlib.aclosing(_each(await _source(generate, request))) as chunks:
            async for chunk in chunks:  # nobody will have it stored
                yield chunk

    async def _ask(
        self,
        needed: Load,
        tags: tuple[bytes, ...],
        counters: TypeCounters,
        chunks_of: Callable[[Any], Iterable[Any]],
        live: Stream[Any] | None,
    ) -> AsyncGenerator[Any]:
        """Yield what is stored, or what the stream gives that begins, for this reader or for another.

        While no stream has given anything, what is stored may still be the answer: within `soft_timeout`.

        Raises:
            _AskAgainError: Nothing was given: another's stream was too large to be had, or is of no use here.
            Exception: Whatever the source raises.
        """
        stream = Stream[Any](self._policy.max_entry)
        answered = asyncio.get_running_loop().create_future()
        own = replace(needed, args=(*needed.args, stream), answered=answered)
        reading = asyncio.create_task(self._manager.serving.read(own, self._policy, counters))
        reading.add_done_callback(_look_at_its_error)
        try:
            with self._told_of_others(needed.key, stream, live) as another, stream.joined() as reader:
                found = await self._choose((stream, reader), reading, another, needed.key, tags)
                if found is not None:
                    with contextlib.suppress(_NothingGivenError):
                        async with contextlib.aclosing(_pass_on(*found)) as chunks:
                            async for chunk in chunks:
                                if not (answered.done() or reading.done()):
                                    answered.set_result(None)
                                yield chunk
                        await asyncio.wait([reading])  # it is stored, if it could be
                        return
                elif not reading.done():
                    raise _AskAgainError
            # Nothing was given: the answer is what the reading says, be it an error or something older.
            try:
                stored = (await reading).value
            except StreamTooLargeError:
                raise _AskAgainError from None
        finally:
            reading.cancel()  # the load itself goes on
        for chunk in chunks_of(stored):
            yield own_copy(chunk)  # others may have waited for the same

    async def _choose(
        self,
        own: _Place,
        reading: asyncio.Task[Any],
        another: asyncio.Future[_Place],
        key: str,
        tags: tuple[bytes, ...],
    ) -> _Place | None:
        """Wait for what comes first; return the stream to read, and None where it is none."""
        waiting: set[asyncio.Future[Any]] = {reading, own[0].begun, another}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        place: _Place | None = None
        if own[0].begun.done():
            place = own
        elif another.done() and not reading.done():
            place = another.result() if await self._may_follow(another.result()[0], key, tags) else None
        if place is None:
            return None
        await asyncio.wait({reading, place[0].first}, return_when=asyncio.FIRST_COMPLETED)
        return None if _is_from_store(reading) else place

    async def _find_live(self, key: str, tags: tuple[bytes, ...]) -> Stream[Any] | None:
        """A stream under way that may be followed, unless something stored is served meanwhile."""
        live = self._live.get(key)
        if live is None or live.behind or not await self._may_follow(live, key, tags):
            return None
        return live if live.is_whole else None

    @contextlib.contextmanager
    def _told_of_others(
        self, key: str, own: Stream[Any], live: Stream[Any] | None
    ) -> Generator[asyncio.Future[_Place]]:
        """Give what is done once another stream of a key begins in this process, and a place in it."""
        begins = asyncio.get_running_loop().create_future()
        if live is not None:
            begins.set_result((live, live.join()))
        waiting = self._waiting.setdefault(key, {})
        waiting[own] = begins
        try:
            yield begins
        finally:
            del waiting[own]
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
            if begins.done() and not begins.cancelled():
                stream, reader = begins.result()
                stream.leave(reader)

    async def _may_follow(self, stream: Stream[Any], key: str, tags: tuple[bytes, ...]) -> bool:
        """Whether a stream under way may serve who asks now: as a load is joined, but before it has ended."""
        log, flights = self._manager.log, self._manager.flights
        if not await log.catch_up():
            return False
        view, flight = flights.view(), stream.flight
        if flight is None or flights.find(self._cache_type, key, view) is not flight:
            return False
        return flight.known >= view.known or not log.killer(self._cache_type, key, tags, flight.born)


async def _pass_on(stream: Stream[Any], reader: Reader) -> AsyncGenerator[Any]:
    """Yield the chunks of a stream.

    Raises:
        _NothingGivenError: It broke off before the first.
        Exception: Whatever it broke off with later.
    """
    given = False
    try:
        async with contextlib.aclosing(stream.read(reader)) as chunks:
            async for chunk in chunks:
                given = True
                yield chunk
    except Exception:  # models raise what they like
        if given:
            raise
        raise _NothingGivenError from None


async def _each(source: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    """Yield the chunks of a source, and let it clean up when its reader leaves."""
    try:
        async for chunk in source:
            yield chunk
    finally:
        await close_source(source)


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


def _is_from_store(reading: asyncio.Task[Reading[Any]]) -> bool:
    """Whether a read was answered with what was stored before."""
    return reading.done() and reading.exception() is None and reading.result().outcome != "miss"


def _look_at_its_error(reading: asyncio.Task[Any]) -> None:
    """Who reads the stream is told by the stream."""
    if not reading.cancelled():
        reading.exception()
