"""Watches the invalidation log from outside, over a connection of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

#: Seconds one read of the log waits for a record.
BLOCK_SECONDS = 2.0

#: Seconds between two attempts to reach a server that is away.
RETRY_SECONDS = 0.1


class LogFollower:
    """Reports the events of each new record, with the moment at which it was seen.

    Args:
        url: the Redis server.
        log: the log's key.
        seen: is called with an event's id, its record's id, and the time by `time.perf_counter`.
    """

    def __init__(self, url: str, log: str, seen: Callable[[str, str, float], object]) -> None:
        # The server is slow to answer on purpose (BLOCK): the limit is around the call, not on the socket.
        self._redis = Redis.from_url(url, protocol=2, socket_timeout=None, socket_connect_timeout=1)
        self._log = log
        self._seen = seen
        self._position: str | bytes = ""
        self.lost_connections = 0

    async def start(self) -> None:
        """Remember where the log ends now. Raises `RedisError` if the server can't be reached."""
        newest: Any = await self._redis.xrevrange(self._log, count=1)
        self._position = newest[0][0] if newest else "0-0"

    async def run(self) -> None:
        """Follow the log for ever, through any loss of the connection."""
        while True:
            try:
                await self._step()
            except (RedisError, OSError, TimeoutError):
                self.lost_connections += 1
                await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()

    async def _step(self) -> None:
        if not self._position:
            await self.start()
        async with asyncio.timeout(BLOCK_SECONDS * 2):
            answer: Any = await self._redis.xread(
                {self._log: self._position}, count=1000, block=int(BLOCK_SECONDS * 1000)
            )
        now = time.perf_counter()
        streams: list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes] | None]]]] = answer or []
        for _, records in streams:
            for record, fields in records:
                self._position = record
                for event_id in (fields or {}).get(b"_trace", b"").split(b","):
                    if event_id:
                        self._seen(event_id.decode(), record.decode(), now)
