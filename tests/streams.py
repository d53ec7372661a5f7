"""Models that stream, for tests: a chunk whenever they are let to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from stoker.core import ChatMessage, GenerationRequest, GenerationResponse, ResponseCache
from tests.managers import make_config
from tests.servers import RedisServer

REQUEST = GenerationRequest([ChatMessage("user", "Hello")], 0.7, model="gpt-4o")
CHUNKS = ["Once ", "upon ", "a ", "time"]


class Model:
    """A model that streams a chunk whenever it is let to."""

    def __init__(self, chunks: list[Any] | None = None) -> None:
        self.chunks = CHUNKS if chunks is None else chunks
        self.calls = 0
        self.given = 0
        self.error_after: int | None = None
        self.closed = 0
        self._allowed = asyncio.Semaphore(0)

    def allow(self, count: int) -> None:
        for _ in range(count):
            self._allowed.release()

    async def stream(self, _request: Any) -> AsyncGenerator[Any]:
        self.calls += 1
        try:
            for number, chunk in enumerate(self.chunks):
                await self._allowed.acquire()
                if self.error_after == number:
                    raise RuntimeError("the model broke off")
                self.given += 1
                yield chunk
            await self._allowed.acquire()
        finally:
            self.closed += 1


async def collect(chunks: AsyncIterator[Any], into: list[Any] | None = None) -> list[Any]:
    found: list[Any] = [] if into is None else into
    async for chunk in chunks:
        found.append(chunk)  # noqa: PERF401  they are looked at as they come
    return found


def caches(server: RedisServer, prefix: str, **policy: Any) -> ResponseCache[GenerationResponse]:
    return ResponseCache(make_config(server, prefix, llm_response=policy))
