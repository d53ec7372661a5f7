"""A stream under way: one source, read once, and any number of readers who get its chunks as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stoker.core.entries.weight import weigh
from stoker.core.errors import StokerError
from stoker.core.loading.flights import Flight, LoadCancelledError

C = TypeVar("C")


class StreamTooLargeError(StokerError):
    """The stream is larger than the type's `max_entry`, and nobody reads it any more."""


@dataclass(slots=True, eq=False)
class Reader:
    """Somebody who reads a stream."""

    at: int
    """The number of the chunk that it reads next."""


class Stream(Generic[C]):
    """The chunks of a stream, kept from the first one on for whoever comes later.

    Once they are more than `max_bytes`, the stream can't be stored: then it has no further readers, and what
    all of them have read is let go, at the pace of the slowest.
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
        self.error: Exception | None = None
        """Why it broke off, if it did."""
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once its source is read."""

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
            await _close(source)
        return self._chunks if self.is_whole else None

    @contextmanager
    def joined(self) -> Generator[Reader]:
        """Be a reader: nothing is let go before it was read."""
        reader = Reader(0)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
            self._move()

    async def read(self, reader: Reader) -> AsyncGenerator[C]:
        """Yield the chunks from the first one on, as they come.

        Raises:
            Exception: What the source raised, after the chunks that it had given.
        """
        while True:
            while reader.at - self._dropped < len(self._chunks):
                chunk = self._chunks[reader.at - self._dropped]
                reader.at += 1
                if not self.is_whole:
                    self._move()
                yield chunk
            if self._ended:
                break
            await self._wait()
        if self.error is not None:
            raise self.error

    async def _let_go(self) -> None:
        """Wait until all readers have read what is kept, and forget it."""
        newest = self._dropped + len(self._chunks)
        while any(reader.at < newest for reader in self._readers):
            await self._wait()
        if not self._readers:
            raise StreamTooLargeError(
                f"a stream has over {self._max_bytes} bytes, and nobody reads it: raise the type's max_entry"
            )
        self._chunks.clear()
        self._dropped = newest

    async def _wait(self) -> None:
        """Wait until a chunk came or was read, or the stream ended."""
        if self._moved is None or self._moved.done():
            self._moved = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._moved)

    def _move(self) -> None:
        if self._moved is not None and not self._moved.done():
            self._moved.set_result(None)


async def _close(source: Any) -> None:
    """Let an async generator that was not read to its end clean up now, and not when it is collected."""
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
