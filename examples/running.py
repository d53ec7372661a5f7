"""How each example runs: on a server that is given or started for it, with a report and an exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from stoker.core import CacheConfig, CacheManager
from stoker.core.errors import StokerError
from stoker.core.keys import glob_escape
from stoker.core.settings.redaction import redact_url
from stoker.worker.embedded import EmbeddedServer


class Report:
    """What an example tells: lines of what it saw, and whether what it shows is true."""

    def __init__(self, title: str) -> None:
        self.good = True
        print(f"\n{title}\n")

    def tell(self, what: str, value: object) -> None:
        """One line of what was seen."""
        print(f"  {what:<44}{value}")

    def show(self, claim: str, *, holds: bool) -> None:
        """One line of what the example is there to show."""
        self.good &= holds
        print(f"  {'✔' if holds else '✘'} {claim}")


@contextmanager
def server() -> Generator[str, None, None]:
    """The URL of the server at $REDIS_URL, or of one that is started for as long as the example runs."""
    if given := os.environ.get("REDIS_URL"):
        yield given
        return
    with (
        tempfile.TemporaryDirectory(prefix="stoker-example-") as folder,
        EmbeddedServer(Path(folder)) as started,
    ):
        yield started.url


def settings(url: str, name: str, **rest: Any) -> CacheConfig:
    """The configuration of an example: its keys are below a prefix of this run's own."""
    return CacheConfig.model_validate(
        {
            "prefix": f"example-{name}-{os.getpid()}",
            "redis": {"url": url, "timeout": "10s", "connect_timeout": "10s"},
            **rest,
        }
    )


@asynccontextmanager
async def cache_of(config: CacheConfig) -> AsyncGenerator[CacheManager, None]:
    """A cache whose keys are gone from the server when the example has ended."""
    async with CacheManager(config, recording=False) as cache:
        try:
            yield cache
        finally:
            async for names in cache.link.scan(f"{glob_escape(config.prefix)}:*"):
                await cache.link.call("UNLINK", *names)


def run(title: str, example: Callable[[str, Report], Coroutine[Any, Any, None]]) -> int:
    """Run an example; return the exit code: 0, 1 when something did not hold, 2 without a server."""
    logging.getLogger("stoker").setLevel(logging.ERROR)  # a fresh server's log is opened: no news here
    try:
        with server() as url:
            report = Report(title)
            report.tell("server", redact_url(url))
            asyncio.run(example(url, report))
    except StokerError as error:
        print(error, file=sys.stderr)
        return 2
    print()
    return 0 if report.good else 1
