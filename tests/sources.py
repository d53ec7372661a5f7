"""Sources of truth for tests of loading: they count how often they are asked, and answer when told to."""

from __future__ import annotations

import asyncio
from typing import Any

from stoker.core import CacheManager
from stoker.core.entries.lookup import State
from tests.servers import RedisServer
from tests.waiting import eventually


class Source:
    """A value that is read at the start of a load, and returned when the gate is open."""

    def __init__(self, value: Any = 1) -> None:
        self.value = value
        self.error: Exception | None = None
        self.loads = 0
        self.loading = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.reading = asyncio.Event()

    async def load(self) -> Any:
        self.loads += 1
        self.loading += 1
        value, error = self.value, self.error
        self.reading.set()
        try:
            await self.gate.wait()
        finally:
            self.loading -= 1
        if error is not None:
            raise error
        return value


async def until_state(cache: CacheManager, cache_type: str, key: str, state: State) -> None:
    """Wait until an entry stands as it should: until its TTL has passed, for one."""

    async def stands() -> bool:
        (found,) = await cache.peek(cache_type, [key])
        return found is not None and found.state is state

    await eventually(stands, f"{cache_type}:{key} is {state}")


def hold_lease(
    server: RedisServer, cache: CacheManager, cache_type: str, key: str, *, px: int = 600_000
) -> str:
    """Take a key's lease as a process would that never comes to an end; return the lease's name."""
    name = cache.keys.lease(cache_type, key)
    value = f"stranger:{cache.log.epoch:016x}:{cache.log.seen >> 64}-{cache.log.seen & (1 << 64) - 1}"
    client = server.client()
    assert client.set(name, value, px=px, nx=True)
    client.close()
    return name


def commands_run(server: RedisServer) -> dict[str, int]:
    """How often the server has run each command so far, scripts' own calls included."""
    client = server.client()
    stats: dict[str, Any] = client.info("commandstats")
    client.close()
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
