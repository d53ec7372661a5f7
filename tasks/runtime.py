"""What all tasks of a process share, its event loop and its connected cache; how `async def` tasks run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog
from celery import Task
from celery.exceptions import Reject, Retry

from stoker.core import CacheConfig, CacheManager
from stoker.core.loading.loaders import import_loaders
from stoker.core.sync.home import Home

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How long loads under way have to end when the cache is closed, in seconds.
LOADS_END_SECONDS = 1.0


class Runtime:
    """The loop and the cache of this process.

    The cache is connected at its first use, on the loop; a forked child gets one of its own.
    """

    def __init__(self, config: CacheConfig, *, process: str | None = None) -> None:
        self.config = config
        self._name = process
        self._home = Home(self._make)
        self.loop = self._home.loop
        self._bodies: set[asyncio.Task[Any]] = set()
        self._leaving = False

    def _make(self) -> CacheManager:
        import_loaders(self.config.loaders)
        return CacheManager(self.config, process=self._name)

    async def manager(self) -> CacheManager:
        """Return the connected cache of this process. Runs on the loop."""
        return await self._home.manager()

    async def body(self, coroutine: Coroutine[Any, Any, T], limit: float | None) -> T:
        """Run a task's body for at most `limit` seconds (`None`: without limit); cancelled by `leave`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in a coroutine
        self._bodies.add(task)
        try:
            async with asyncio.timeout(limit):
                return await coroutine
        except asyncio.CancelledError:
            if self._leaving:
                raise Reject("the worker stops", requeue=True) from None
            raise
        finally:
            self._bodies.discard(task)

    def leave(self, grace: float) -> None:
        """Give the tasks that run `grace` seconds to end; then cancel them, and their messages go back."""
        if self.loop.running:
            loop = self.loop.loop()
            loop.call_soon_threadsafe(loop.call_later, grace, self._cancel_bodies)

    def _cancel_bodies(self) -> None:
        self._leaving = True
        for task in self._bodies:
            task.cancel()

    def stop(self) -> None:
        """Close the cache and stop the loop."""
        self._home.close(LOADS_END_SECONDS)


def bind_runtime(app: Any, runtime: Runtime) -> None:
    """Give an application its runtime."""
    app.stoker_runtime = runtime


def runtime_of(app: Any) -> Runtime:
    """Return the runtime of a Celery application that `stoker.worker.app.create_app` has made."""
    runtime = getattr(app, "stoker_runtime", None)
    if not isinstance(runtime, Runtime):
        raise TypeError("this Celery application has no Stoker runtime: make it with create_app()")
    return runtime


class AsyncTask(Task):  # type: ignore[misc]  # Celery publishes no types
    """A task whose body, `run`, is `async def`: it runs on the process's loop, within `soft_time_limit`.

    Each run writes a line at its start and one at its end, with the task's id as their trace.
    """

    abstract = True
    acks_late = True
    ignore_result = True
    max_retries: int | None = 2
    soft_time_limit: float | None = 60.0

    app: Any
    told_elsewhere = False
    """Whether what the body calls writes its own line on the outcome; ours is then at level debug."""

    async def run(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Do the task's work, and return what is worth a line in the log."""
        raise NotImplementedError

    async def manager(self) -> CacheManager:
        """Return the connected cache of this process."""
        return await runtime_of(self.app).manager()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body, and say so in the log."""
        action = str(self.name).removeprefix("stoker.")
        with structlog.contextvars.bound_contextvars(trace=self.request.id, job=action):
            _say(logging.DEBUG, f"{action}_started", **kwargs)
            began = time.monotonic()
            try:
                outcome = self.perform(*args, **kwargs)
                self.settle(outcome)
            except (Reject, Retry) as again:
                _say(logging.WARNING, f"{action}_again", seconds=time.monotonic() - began, reason=str(again))
                raise
            except Exception as error:  # said here, with its time; Celery is told, too
                _say(logging.ERROR, f"{action}_failed", seconds=time.monotonic() - began, reason=repr(error))
                raise
            level = logging.DEBUG if self.told_elsewhere else logging.INFO
            _say(level, f"{action}_done", seconds=time.monotonic() - began, **outcome)
            return outcome

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body on the loop and wait for it."""
        runtime = runtime_of(self.app)
        return runtime.loop.run(runtime.body(self.run(*args, **kwargs), self.soft_time_limit))

    def settle(self, outcome: dict[str, Any]) -> None:
        """Look at what a body returned; may raise Celery's `Retry`. Does nothing unless a task says so."""


def current_trace() -> str | None:
    """Return the trace of the run that this code is part of: its task's id."""
    trace = structlog.contextvars.get_contextvars().get("trace")
    return None if trace is None else str(trace)


def _say(level: int, action: str, **fields: Any) -> None:
    """Write a log line of the form `action=warm_done loaded=3`, and the same as fields."""
    shown = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
    text = " ".join([f"action={action}", *(f"{name}={value}" for name, value in shown.items())])
    logger.log(level, "%s", text, extra={**shown, "action": action})
