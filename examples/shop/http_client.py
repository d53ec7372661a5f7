"""A lean HTTP/1.1 client over kept connections, for loads that a full client would itself be the limit of.

It reads answers that carry a Content-Length, which is all that the shop sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Bytes of an answer's head at most.
_HEAD_LIMIT = 65_536

#: Seconds after which an idle connection isn't used again: the server may be about to close it.
_IDLE_SECONDS = 3.0


class HttpError(Exception):
    """There was no answer, or none that can be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: its status, its headers by lower-case name, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: float = 0.0

    async def request(self, message: bytes) -> Answer:
        self.writer.write(message)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(lines[0].split(" ", 2)[1]), headers, body)


class HttpClient:
    """Requests to one server.

    Args:
        url: its root, such as `http://127.0.0.1:8000`.
        connections: requests under way at once; others wait, and their waiting counts into the timeout.
        timeout: seconds until a request is given up.
    """

    def __init__(self, url: str, *, connections: int = 128, timeout: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url!r}: give the shop's address like http://127.0.0.1:8000")
        self._host, self._port = parts.hostname, parts.port or 80
        self._timeout = timeout
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def get(self, path: str) -> Answer:
        """Fetch `path`. Raises `HttpError` if there is no answer in time."""
        return await self._send(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())

    async def put(self, path: str, body: bytes) -> Answer:
        """Send JSON to `path`. Raises `HttpError` if there is no answer in time: it may have been done."""
        head = f"PUT {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        return await self._send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            connection = self._idle.pop()
            connection.writer.close()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()

    async def _send(self, message: bytes) -> Answer:
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                return await self._exchange(message)
        except TimeoutError as error:
            raise HttpError(f"no answer within {self._timeout:g} s") from error
        except (OSError, EOFError, KeyError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise HttpError(f"{type(error).__name__}: {error}") from error

    async def _exchange(self, message: bytes) -> Answer:
        connection = await self._connection()
        try:
            answer = await connection.request(message)
        except BaseException:
            # Also when cancelled: what is still to come on this connection belongs to nobody.
            connection.writer.transport.abort()
            raise
        if answer.headers.get("connection") == "close":
            connection.writer.close()
        else:
            connection.used = time.monotonic()
            self._idle.append(connection)
        return answer

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.used < _IDLE_SECONDS and not connection.reader.at_eof():
                return connection
            connection.writer.close()
        return _Connection(*await asyncio.open_connection(self._host, self._port, limit=_HEAD_LIMIT))
