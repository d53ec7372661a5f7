"""Processes full of callers that all want one key at once: what `benchmarks.stampede` starts and commands.

A process reads commands from its standard input, one JSON document a line, and answers each with one. It is
killed, or ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measuring import optional, version
from benchmarks.servers import configuration
from stoker.core import CacheManager

Load = Callable[[], Awaitable[int]]


class Cache(ABC):
    """A cache that is to load a key once, set up as its documentation does for that."""

    name: str
    distribution: str | None = None

    @classmethod
    def installed(cls) -> bool:
        """Whether it can be measured here."""
        return cls.distribution is None or version(cls.distribution) is not None

    @abstractmethod
    async def open(self, url: str) -> None:
        """Connect."""

    @abstractmethod
    async def read(self, key: str, load: Load) -> int:
        """Answer from the cache, or load and store."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""


class Stoker(Cache):
    """This project's, with its default limits, but for those of an overloaded machine."""

    name = "stoker"

    async def open(self, url: str) -> None:  # noqa: D102
        config = configuration(url, {"item": {}}, timeout=5.0, connect_timeout=5.0)
        self._manager = CacheManager(config, recording=False)
        await self._manager.connect()

    async def read(self, key: str, load: Load) -> int:  # noqa: D102
        return await self._manager.get_or_load("item", key, load)

    async def close(self) -> None:  # noqa: D102
        await self._manager.close()


class Cashews(Cache):
    """Its decorator with `lock=True`: in a process and across them."""

    name = distribution = "cashews"

    async def open(self, url: str) -> None:  # noqa: D102
        logging.getLogger("cashews").setLevel(logging.CRITICAL)
        module: Any = optional("cashews")
        self._cache = module.Cache()
        self._cache.setup(url)
        await self._cache.init()
        self._load: Load | None = None

        @self._cache(ttl="1h", key="{key}", lock=True)  # type: ignore[untyped-decorator]
        async def read(key: str) -> int:  # noqa: ARG001  it names the entry
            assert self._load is not None
            return await self._load()

        self._read = read

    async def read(self, key: str, load: Load) -> int:  # noqa: D102
        self._load = load
        return int(await self._read(key))

    async def close(self) -> None:  # noqa: D102
        await self._cache.close()


class Aiocache(Cache):
    """Its decorator `cached_stampede`, with a lease somewhat longer than the load."""

    name = distribution = "aiocache"

    async def open(self, url: str) -> None:  # noqa: D102
        module: Any = optional("aiocache")
        address = urlsplit(url)
        self._load: Load | None = None

        def key_of(_: object, key: str) -> str:
            return key

        @module.cached_stampede(  # type: ignore[untyped-decorator]
            cache=module.Cache.REDIS,
            endpoint=address.hostname,
            port=address.port,
            lease=2,
            key_builder=key_of,
            ttl=3600,
        )
        async def read(key: str) -> int:  # noqa: ARG001  it names the entry
            assert self._load is not None
            return await self._load()

        self._read = read

    async def read(self, key: str, load: Load) -> int:  # noqa: D102
        self._load = load
        return int(await self._read(key))

    async def close(self) -> None:  # noqa: D102
        await self._read.cache.close()


CACHES: dict[str, type[Cache]] = {kind.name: kind for kind in (Stoker, Cashews, Aiocache)}


class Herd:
    """The callers of this process."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._loads: list[float] = []

    async def herd(self, key: str, callers: int, seconds: float, at: float) -> dict[str, Any]:
        """Have callers read a key at a moment (of `time.monotonic`, the same in all processes)."""
        self._loads = []

        async def load() -> int:
            self._loads.append(time.monotonic())
            self._say({"loading": self._loads[-1]})
            await asyncio.sleep(seconds)
            return 1

        async def call() -> float:
            await asyncio.sleep(max(at - time.monotonic(), 0.0))
            began = time.monotonic()
            await self._cache.read(key, load)
            return time.monotonic() - began

        waits = await asyncio.gather(*(call() for _ in range(callers)))
        return {"loads": self._loads, "slowest": max(waits)}

    async def hits(self, key: str, count: int) -> dict[str, Any]:
        """Read a key that is there, one time after the other."""

        async def load() -> int:
            self._loads.append(time.monotonic())
            return 1

        self._loads = []
        for _ in range(count):
            await self._cache.read(key, load)
        return {"loads": self._loads}

    async def run(self) -> None:
        """Do what is asked until there is nothing more."""
        loop = asyncio.get_running_loop()
        self._say({"ready": True})
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(line)
            answer = await (self.herd if asked.pop("do") == "herd" else self.hits)(**asked)
            self._say({"done": answer})

    @staticmethod
    def _say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), flush=True)


async def main(name: str, url: str) -> None:
    cache = CACHES[name]()
    await cache.open(url)
    try:
        await Herd(cache).run()
    finally:
        await cache.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
