"""Shops for the replay's tests: a stand-in that may lie, and the real one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from tests.servers import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]


class PretendShop:
    """Speaks like the shop, over HTTP and Redis. With `forgetful=False` it answers with what was written;
    otherwise it never notices, as a cache that misses its invalidations.
    """

    def __init__(self, url: str, prefix: str, *, forgetful: bool) -> None:
        self._redis = Redis.from_url(url, protocol=2)
        self._url = url
        self._prefix = prefix
        self._forgetful = forgetful
        self._versions: dict[int, int] = defaultdict(lambda: 1)
        self._seen: set[int] = set()
        self._handlers: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._handlers.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0] or 0)
                await reader.readexactly(length)
                body, outcome = await self._answer(method, path)
                data = json.dumps(body).encode()
                answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\nX-Cache: {outcome}\r\n\r\n"
                writer.write(answer.encode() + data)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            await writer.wait_closed()

    async def _answer(self, method: str, path: str) -> tuple[dict[str, Any], str]:
        log = f"{self._prefix}:log"
        if path == "/stats":
            return {"loads": {"reader": len(self._seen), "warm": 0}, "redis": self._url, "log": log}, "-"
        product = int(path.split("/")[2])
        if method == "PUT":
            self._versions[product] += 1
            event_id = f"{product}-{self._versions[product]}"
            published: Any = await self._redis.xadd(f"{self._prefix}:events", {"d": "{}"})
            await self._redis.xadd(log, {"key": f"product:{product}", "_trace": event_id})
            version = self._versions[product]
            return {"version": version, "event_id": event_id, "published": published.decode()}, "-"
        outcome = "hit" if product in self._seen else "miss"
        self._seen.add(product)
        return {"version": 1 if self._forgetful else self._versions[product]}, outcome

    async def close(self) -> None:
        """Its clients have closed their connections before."""
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._redis.aclose()


@asynccontextmanager
async def pretend_shop(url: str, prefix: str, *, forgetful: bool) -> AsyncGenerator[str, None]:
    """Serve a `PretendShop`; yields its address."""
    shop = PretendShop(url, prefix, forgetful=forgetful)
    server = await asyncio.start_server(shop.handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await shop.close()


@contextmanager
def real_shop(redis_url: str, prefix: str, folder: Path, config: str) -> Generator[str, None, None]:
    """The shop under uvicorn in a process of its own; yields its address."""
    port = free_port()
    (folder / "stoker.yaml").write_text(config, encoding="utf-8")
    environment = {
        **os.environ,
        "STOKER_CONFIG": str(folder / "stoker.yaml"),
        "STOKER_PREFIX": prefix,
        "STOKER_REDIS__URL": redis_url,
        "SHOP_DATABASE": str(folder / "shop.sqlite"),
        "SHOP_QUERY_MS": "2",
    }
    command = [sys.executable, "-m", "uvicorn", "examples.shop.app:app", "--port", str(port)]
    with (folder / "shop.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or answers(f"{url}/healthz"), "the shop answers")
        assert process.poll() is None, (folder / "shop.log").read_text(encoding="utf-8")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
