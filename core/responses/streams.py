"""A stream under way: one source, read once, and any number of readers who get its chunks as they come."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stoker.core.entries.weight import weigh
from stoker.core.errors import StokerError
from stoker.core.loading.flights import Flight, LoadCancelledError

logger = logging.getLogger(__name__)

C = TypeVar("C")


#: A stream that can't be stored goes at the pace of its slowest reader. One that takes nothing for so many
#: seconds, while all others wait, is let go.
STALLED_SECONDS = 10.0

#: What needs no copy: nobody can change it.
_UNCHANGING = frozenset((str, bytes, int, float, bool, type(None)))


class StreamTooLargeError(StokerError):
    """The stream is larger than the type's `max_entry`, and nobody reads it any more, or one too slowly."""


@dataclass(slots=True, eq=False)
class Reader:
    """Somebody who reads a stream."""

    at: int
    """The number of the chunk that it reads next."""
    let_go: bool = False
    """It took nothing for so long that the others went on without it."""


class Stream(Generic[C]):
    """The chunks of a stream, kept from the first one on for whoever comes later.

    Once they are more than `max_bytes`, the stream can't be stored: then it has no further readers, and what
    all of them have read is let go, at the pace of the slowest that reads at all; see `STALLED_SECONDS`.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[C] = []
        self._dropped = 0
        """Chunks that were let go."""
        self._bytes = 0
        self._readers: set[Reader] = set()
        self._ended = False
        self._moved: asyncio.Future[None] | None = None
        self.flight: Flight | None = None
        """The load that it is part of, once its source is asked."""
        self.behind = False
        """Whether that load is behind an answer: something stored is served meanwhile."""
        self.error: Exception | None = None
        """Why it broke off, if it did."""
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        """Done once its source is read."""
        self.first: asyncio.Future[None] = loop.create_future()
        """Done once there is a chunk, or it has ended without one."""

    @property
    def is_whole(self) -> bool:
        """Whether all chunks so far are kept."""
        return self._bytes <= self._max_bytes

    async def run(self, source: AsyncIterator[C]) -> list[C] | None:
        """Read the source to its end; return all of its chunks, or None where they are too many to keep.

        Raises:
            StreamTooLargeError: They are, and nobody reads them.
            Exception: Whatever the source raises.
        """
        self.begun.set_result(None)
        try:
            async for chunk in source:
                self._bytes += weigh(chunk)
                self._chunks.append(chunk)
                self._move()
                if not self.is_whole:
                    await self._let_go()
        except asyncio.CancelledError:
            self.error = LoadCancelledError(
                "the stream was cut off: it took longer than the type's load_timeout, or the cache was closed"
            )
            raise
        except Exception as error:  # models raise what they like: all who read are told
            self.error = error
            raise
        finally:
            self._ended = True
            self._move()
            await close_source(source)
        return self._chunks if self.is_whole else None

    def join(self) -> Reader:
        """Become a reader: nothing is let go before it was read, until the reader leaves."""
        reader = Reader(0)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Be a reader no longer."""
        self._readers.discard(reader)
        self._move()

    @contextmanager
    def joined(self) -> Generator[Reader]:
        """Be a reader meanwhile."""
        reader = self.join()
        try:
            yield reader
        finally:
            self.leave(reader)

    async def read(self, reader: Reader) -> AsyncGenerator[C]:
        """Yield the chunks from the first one on, as they come; of what can be changed, a copy.

        Raises:
            StreamTooLargeError: The reader took nothing for too long, and the others went on.
            Exception: What the source raised, after the chunks that it had given.
        """
        while True:
            while not reader.let_go and reader.at - self._dropped < len(self._chunks):
                chunk = self._chunks[reader.at - self._dropped]
                reader.at += 1
                if not self.is_whole:
                    self._move()
                yield own_copy(chunk)
            if reader.let_go:
                raise StreamTooLargeError(
                    f"a stream of over {self._max_bytes} bytes went on without a reader that took nothing "
                    f"for {STALLED_SECONDS:g} s: read faster, or raise the type's max_entry"
                )
            if self._ended:
                break
            await self._wait()
        if self.error is not None:
            raise self.error

    async def _let_go(self) -> None:
        """Wait until all readers have read what is kept, and forget it."""
        newest = self._dropped + len(self._chunks)
        while behind := {reader for reader in self._readers if reader.at < newest}:
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await self._wait()
            except TimeoutError:
                if len(behind) < len(self._readers):  # there are others, who have read all
                    self._go_on_without(behind)
        if not self._readers:
            raise StreamTooLargeError(
                f"a stream has over {self._max_bytes} bytes, and nobody reads it: raise the type's max_entry"
            )
        self._chunks.clear()
        self._dropped = newest

    def _go_on_without(self, readers: set[Reader]) -> None:
        for reader in readers:
            reader.let_go = True
        self._readers -= readers
        self._move()

    async def _wait(self) -> None:
        """Wait until a chunk came or was read, or the stream ended."""
        if self._moved is None or self._moved.done():
            self._moved = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._moved)

    def _move(self) -> None:
        if (self._chunks or self._ended) and not self.first.done():
            self.first.set_result(None)
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)


async def close_source(source: Any) -> None:
    """Let an async generator that was not read to its end clean up now, and not when it is collected."""
    close = getattr(source, "aclose", None)
    if close is None:
        return
    try:
        await close()
    except Exception as error:  # noqa: BLE001  clients raise what they like; of the stream it says nothing
        logger.debug("action=stream_not_closed reason=%r", error, extra={"action": "stream_not_closed"})


def own_copy(chunk: Any) -> Any:
    """A chunk that its reader may change: others get theirs as it came."""
    if type(chunk) in _UNCHANGING:
        return chunk
    try:
        return copy.deepcopy(chunk)
    except Exception:  # noqa: BLE001  what can't be copied is for its readers to leave alone
        return chunk
