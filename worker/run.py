"""`stoker worker` and `stoker beat`: the process around Celery's parts, with signals and health pages."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable
from typing import Any, cast

from celery import Celery, signals
from celery.platforms import SecurityWarning
from starlette.applications import Starlette

from stoker.core.errors import StokerError
from stoker.tasks.runtime import runtime_of
from stoker.worker.app import create_app
from stoker.worker.beat import BeatLoop, LeaderScheduler
from stoker.worker.config import StokerConfig
from stoker.worker.health import Check, HttpServer, health_routes, loop_alive, redis_reachable
from stoker.worker.steps import consumer_health

logger = logging.getLogger(__name__)

#: A consumer whose last read is longer ago is not ready, in seconds, on top of the time that a read waits.
READ_SECONDS = 5.0

#: A beat that hasn't looked at its schedule for so long is stuck, in seconds.
TICK_SECONDS = 30.0


class WorkerFailedError(StokerError):
    """The worker has ended by itself; the lines before tell why."""


def run_worker(config: StokerConfig, *, name: str | None = None) -> None:
    """Run a worker until SIGTERM or SIGINT; then stop in order, within 10 s.

    Args:
        config: The configuration.
        name: Tells this worker from others on the same host. The event consumer is called by it too, so keep
            it over restarts.

    Raises:
        WorkerFailedError: It ended by itself.
    """
    if os.getuid() == 0:
        # One line of ours for Celery's seven.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        logger.warning("action=runs_as_root advice=%s", "use an account that may do less")
    app = create_app(config)
    signals.setup_logging.connect(_keep_logging, weak=False, dispatch_uid="stoker")
    worker = cast("Any", app).Worker(
        hostname=f"{name or config.prefix}@{socket.gethostname()}",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    checks = {**worker_checks(app, config), "broker": _connected(worker)}
    pages = Starlette(routes=health_routes(checks, worker_alive(app)))
    server = HttpServer(config.worker.listen, pages, option="worker.listen").start()
    try:
        worker.start()
    finally:
        server.stop()
    if worker.exitcode:
        raise WorkerFailedError(f"the worker has ended with code {worker.exitcode}")


def run_beat(config: StokerConfig) -> None:
    """Run the scheduler until SIGTERM or SIGINT; then release the lease."""
    app = create_app(config)
    scheduler = LeaderScheduler(app)
    loop = BeatLoop(scheduler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, loop.stop)
    pages = Starlette(routes=health_routes(beat_checks(scheduler, config), {"schedule": _ticking(scheduler)}))
    server = HttpServer(config.beat.listen, pages, option="beat.listen").start()
    try:
        loop.run()
    finally:
        server.stop()


def worker_checks(app: Celery, config: StokerConfig) -> dict[str, Check]:
    """What must be well for a worker to be ready: Redis, the event consumer."""

    def consumer() -> str | None:
        health = consumer_health(app)
        age = None if health is None else health.age()
        if health is None or age is None:
            return (health and health.problem) or "the event consumer has not read yet"
        if health.problem:
            return health.problem
        if age > READ_SECONDS + config.events.block:
            return f"the event consumer's last read was {age:.0f} s ago"
        return None

    return {"redis": redis_reachable(config.redis.url), "consumer": consumer}


def _connected(worker: Any) -> Check:
    """Celery's consumer keeps its connection to the broker in `connection`, and None while it has none."""

    def check() -> str | None:
        consumer = getattr(worker, "consumer", None)
        return None if getattr(consumer, "connection", None) else "not connected to the broker"

    return check


def worker_alive(app: Celery) -> dict[str, Check]:
    """What must be well for a worker to go on: its event loop takes its turns."""
    return {"loop": loop_alive(runtime_of(app).loop.loop())}


def beat_checks(scheduler: LeaderScheduler, config: StokerConfig) -> dict[str, Check]:
    """What must be well for a beat to be ready: Redis, and a schedule it looks at. A standby is ready."""
    return {"redis": redis_reachable(config.redis.url), "schedule": _ticking(scheduler)}


def _ticking(scheduler: LeaderScheduler) -> Callable[[], str | None]:
    def check() -> str | None:
        age = time.monotonic() - scheduler.ticked
        return f"the schedule was last looked at {age:.0f} s ago" if age > TICK_SECONDS else None

    return check


def _keep_logging(**_: Any) -> None:
    """Being connected to Celery's signal keeps it from setting up logs of its own.

    Its line at each start and end of a task would say again what the task's own lines say.
    """
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
