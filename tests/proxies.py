"""A way to a server on which what is sent, or answered, can be held back and then comes in one piece."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from tests.servers import RedisServer, free_port

CHUNK_BYTES = 1 << 20


class Lane:
    """One direction of all connections."""

    def __init__(self) -> None:
        self.holding = asyncio.Event()
        """Set when what was to be held back has come."""
        self.held = bytearray()
        """What has come since, on that connection."""
        self._marker = b""
        self._sink: asyncio.StreamWriter | None = None

    def hold(self, marker: bytes) -> None:
        """Hold a connection from the next piece on that contains `marker`."""
        self._marker = marker
        self.held.clear()
        self.holding.clear()

    def release(self) -> None:
        """Let go of what was held, in one piece, and hold nothing more."""
        sink, self._sink, self._marker = self._sink, None, b""
        if sink is not None:
            sink.write(bytes(self.held))

    def drop(self) -> None:
        """Lose what was held, and hold nothing more."""
        self._sink, self._marker = None, b""

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK_BYTES):
                if self._marker and self._sink is None and self._marker in data:
                    self._sink = sink
                    self.holding.set()
                if self._sink is sink:
                    self.held += data
                else:
                    sink.write(data)
        sink.close()


class Proxy:
    """Before a server, in `async with`; a manager that is made for it reaches the server through it."""

    def __init__(self, server: RedisServer) -> None:
        self.port = free_port()
        self.up, self.down = Lane(), Lane()
        self._server = server
        self._listening: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listening
        self._listening.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection("127.0.0.1", self._server.port)
        try:
            await asyncio.gather(self.up.carry(reader, asks), self.down.carry(answers, writer))
        finally:
            asks.close()
            writer.close()
