"""What `stoker up` tells of its start: when all is ready, what runs where, and the first warm run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stoker.core.keys import Keys
from stoker.core.link.clients import async_client
from stoker.worker.output import Output
from stoker.worker.supervisor import Supervisor

#: After so many seconds without all being ready, say what is missing.
LATE_SECONDS = 20.0

#: Between two looks for the first warm run.
WATCH_SECONDS = 0.2

_CLOSING = "Ctrl-C stops everything in order. In another terminal: stoker stats, stoker doctor"


class Announcer:
    """Speaks for one start.

    Args:
        supervisor: Whose children are waited for.
        output: Where to speak.
        began: When the start began, by the monotonic clock.
        where: What the summary says of each part.
    """

    def __init__(
        self, supervisor: Supervisor, output: Output, *, began: float, where: Mapping[str, str]
    ) -> None:
        self._supervisor = supervisor
        self._output = output
        self._began = began
        self._where = where

    async def run(self, url: str, prefix: str) -> None:
        """Tell of the children, and then of the first warm run recorded on the server at `url`."""
        watch = asyncio.create_task(self._first_warm_run(url, Keys(prefix)))
        try:
            await self._children()
            self._output.summary(f"Stoker is ready, after {self._seconds:.1f} s", self._where, _CLOSING)
            seconds, run = await watch
            self._output.say(f"first warm run after {seconds:.1f} s ({run})", seconds=round(seconds, 2))
        except Exception as error:  # noqa: BLE001  # what is only told must not end what runs
            self._output.say(f"no more is told of the start: {error!r}", level="warning")
        finally:
            watch.cancel()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    async def _children(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LATE_SECONDS):
                    return await self._supervisor.all_ready()
            except TimeoutError:
                late = [child for child in self._supervisor.children.values() if not child.is_ready.is_set()]
                for child in late:
                    text = f"{child.spec.name} is not ready yet: {child.reason}"
                    self._output.say(text, level="warning", process=child.spec.name)

    async def _first_warm_run(self, url: str, keys: Keys) -> tuple[float, str]:
        """Wait for the first warm run that began after this process, and describe it."""
        since = int(time.time() * 1000)
        if server := self._supervisor.children.get("server"):
            await server.is_ready.wait()
        client: Any = async_client(url, decode_responses=True, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        async with client:
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                try:
                    for run_id in reversed(await client.lrange(keys.runs("warm"), 0, 9)):
                        if int(run_id.partition("-")[0]) >= since:
                            return self._seconds, describe_run(await client.hgetall(keys.run("warm", run_id)))
                except (redis.RedisError, OSError):
                    continue  # the supervisor tells of a server that is gone


def describe_run(record: Mapping[str, str]) -> str:
    """One line on a warm run's record.

    >>> describe_run({"cache_type": "product", "planned": "12", "loaded": "12", "failed": "0"})
    'product: 12 planned, 12 loaded, 0 failed'
    """
    counts = ", ".join(f"{record[name]} {name}" for name in ("planned", "loaded", "failed") if name in record)
    if record.get("planned") == "0":
        counts = "nothing was due yet"
    return ": ".join(part for part in (record.get("cache_type", ""), counts) if part)
