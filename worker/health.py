"""/healthz and /readyz of a component, and the server they are served by.

`/healthz` fails when the process should be started again, `/readyz` when it can't do its work now: each check
answers None, or the reason why not, and the reasons are in the body.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Self, cast

import redis
import uvicorn
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from stoker.core.errors import StokerError
from stoker.core.link.clients import async_client
from stoker.worker.listen import Address, listening_socket
from stoker.worker.logs import redact_text

Check = Callable[[], "str | Awaitable[str | None] | None"]
"""None when all is well, else the reason why not. One that blocks is run in a thread."""

#: A check that takes longer has failed.
CHECK_SECONDS = 2.0

#: A server that has not begun to serve by then has failed.
START_SECONDS = 10.0


async def run_check(check: Check) -> str | None:
    """Run one check, within its time limit; a check that raises has failed."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            if inspect.iscoroutinefunction(check):
                answer = await check()
            else:
                answer = await run_in_threadpool(check)
                if inspect.isawaitable(answer):
                    answer = await answer
            return cast("str | None", answer)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001  # a check may fail in any way: that is its answer
        return redact_text(f"{type(error).__name__}: {error}")


async def report(checks: Mapping[str, Check]) -> JSONResponse:
    """Run checks at once and answer 200 if all are well, else 503, with each one's reason."""
    problems = await asyncio.gather(*(run_check(check) for check in checks.values()))
    found = {
        name: {"ok": problem is None, **({"reason": problem} if problem else {})}
        for name, problem in zip(checks, problems, strict=True)
    }
    well = not any(problems)
    return JSONResponse({"ok": well, "checks": found}, status_code=200 if well else 503)


def health_routes(checks: Mapping[str, Check], alive: Mapping[str, Check] | None = None) -> list[Route]:
    """The two routes, for an application that has others too."""

    async def healthz(_: Request) -> JSONResponse:
        return await report(alive or {})

    async def readyz(_: Request) -> JSONResponse:
        return await report(checks)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def redis_reachable(url: str) -> Check:
    """A check that the server answers; a new connection each time, so nothing else is in its way."""

    async def check() -> str | None:
        client = async_client(
            url, socket_timeout=1.0, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0)
        )
        try:
            await client.ping()
        except (redis.RedisError, OSError) as error:
            return redact_text(f"Redis is not reachable: {error}")
        finally:
            await client.aclose()
        return None

    return check


def loop_alive(loop: asyncio.AbstractEventLoop) -> Check:
    """A check that an event loop of another thread takes its turns."""

    async def turn() -> None:
        await asyncio.sleep(0)

    async def check() -> str | None:
        if not loop.is_running():
            return "the event loop does not run"
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(turn(), loop))
        return None

    return check


class HttpServer:
    """Serves an application from a thread of its own; for code that has no event loop.

    Args:
        listen: `host:port`; None serves nothing, and start and stop do nothing.
        app: What to serve.
        option: The name of `listen` in the configuration, for messages.
    """

    def __init__(self, listen: str | None, app: ASGIApp, *, option: str = "listen") -> None:
        self._listen = listen
        self._app = app
        self._option = option
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @property
    def url(self) -> str | None:
        """Where it serves, once started."""
        if not self._socket:
            return None
        host, port = self._socket.getsockname()[:2]
        return Address(host, port).url

    def start(self) -> Self:
        """Begin to serve.

        Raises:
            PortTakenError: Another program listens there.
            ConfigError: This machine has no such address.
        """
        if self._listen is None:
            return self
        self._socket = listening_socket(Address.parse(self._listen, self._option), self._option)
        self._server = server = uvicorn.Server(server_config(self._app))
        self._thread = threading.Thread(
            target=server.run, args=([self._socket],), name=f"http-{self._option}", daemon=True
        )
        self._thread.start()
        end = time.monotonic() + START_SECONDS
        while not server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise StokerError(f"the server of {self._option} on {self._listen} has not started")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Stop serving; waits for requests under way."""
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(5)
        if self._socket:
            self._socket.close()
        self._server = self._thread = self._socket = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class HealthServer(HttpServer):
    """Serves /healthz and /readyz of a component from a thread of its own.

    Args:
        listen: `host:port`; None switches it off.
        checks: What makes the component ready, by name.
        alive: What makes it alive, by name; that it answers at all is enough where nothing is given.
        option: The name of `listen` in the configuration, for messages.
    """

    def __init__(
        self,
        listen: str | None,
        checks: Mapping[str, Check],
        *,
        alive: Mapping[str, Check] | None = None,
        option: str = "listen",
    ) -> None:
        super().__init__(listen, Starlette(routes=health_routes(checks, alive)), option=option)


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How Stoker's own small servers run: quiet, and quick to stop."""
    return uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", loop="asyncio", timeout_graceful_shutdown=2
    )


async def serve(app: ASGIApp, listen: str, option: str) -> None:
    """Serve an application on this event loop, in the main thread, until SIGINT or SIGTERM.

    Raises:
        PortTakenError: Another program listens there.
        ConfigError: This machine has no such address.
    """
    with contextlib.closing(listening_socket(Address.parse(listen, option), option)) as sock:
        # uvicorn sends itself the signal once more when it has stopped: that is to end nothing then.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _pass)
        await uvicorn.Server(server_config(app)).serve(sockets=[sock])


def _pass(_number: int, _frame: object) -> None:
    """Handle a signal by doing nothing."""
