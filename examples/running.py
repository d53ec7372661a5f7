"""How each example runs: on a server that is given or started for it, with a report and an exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from stoker.core import CacheConfig, CacheManager
from stoker.core.errors import StokerError
from stoker.core.keys import glob_escape
from stoker.core.linking import make_keys, make_link
from stoker.core.settings.addresses import check_redis_url
from stoker.core.settings.redaction import redact_url
from stoker.worker.embedded import EmbeddedServer, NoServerError

Example = Callable[[str, "Report"], Coroutine[Any, Any, None]]

#: The exit code of a program that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM


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
    """The URL of the server at $REDIS_URL, or of one that is started for as long as the example runs.

    Raises:
        NoServerError: The variable names none, or none that can be reached; or there is none to start.
    """
    if given := os.environ.get("REDIS_URL"):
        try:
            url = check_redis_url(given)
        except ValueError as error:
            raise NoServerError(f"$REDIS_URL: {error}") from None
        asyncio.run(reach(url))
        yield url
        return
    with (
        tempfile.TemporaryDirectory(prefix="stoker-example-") as folder,
        EmbeddedServer(Path(folder)) as started,
    ):
        yield started.url


async def reach(url: str) -> None:
    """Connect to a server once, before anything is shown.

    Raises:
        NoServerError: It can't be reached.
    """
    config = settings(url, "any")
    link = make_link(config.redis, make_keys(config))
    try:
        if not await link.connect():
            raise NoServerError(
                f"no server at $REDIS_URL, {redact_url(url)}: {link.last_error}; start it, or unset the "
                "variable: then the example starts one"
            )
    finally:
        await link.close()


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


def run(title: str, example: Example) -> int:
    """Run an example; return the exit code: 0, 1 when something did not hold, 2 without a server.

    SIGTERM ends it as an error would: its keys are removed, and its server is stopped.
    """
    logging.getLogger("stoker").setLevel(logging.ERROR)  # a fresh server's log is opened: no news here
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with server() as url:
            report = Report(title)
            report.tell("server", redact_url(url))
            asyncio.run(_until_terminated(example(url, report)))
    except StokerError as error:
        print(error, file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return TERMINATED
    finally:
        signal.signal(signal.SIGTERM, before)
    print()
    return 0 if report.good else 1


def _terminate(*_: object) -> None:
    raise SystemExit(TERMINATED)


async def _until_terminated(running: Coroutine[Any, Any, None]) -> None:
    """Await what runs; SIGTERM cancels it once, so that a second one leaves it the time to clean up."""
    loop, task = asyncio.get_running_loop(), asyncio.create_task(running)
    loop.add_signal_handler(signal.SIGTERM, lambda: None if task.cancelling() else task.cancel())
    try:
        await task
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
