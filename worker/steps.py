"""What starts and stops with the worker, beside Celery's own parts.

The event consumer starts after Celery's pool and stops before it. When the worker is told to stop: no new
tasks, no new events, the tasks that run get `GRACE_SECONDS`, and the cache is closed last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from celery import bootsteps, signals

from stoker.core import CacheManager
from stoker.core.keys import Keys
from stoker.core.loading.loaders import import_loaders
from stoker.core.maintenance.heartbeat import BEAT_SECONDS, Heartbeat
from stoker.tasks.runtime import Runtime, runtime_of
from stoker.worker.config import StokerConfig
from stoker.worker.consumer import ConsumerHealth, EventConsumer, Subscription

logger = logging.getLogger(__name__)

#: Tasks that run when the worker is told to stop may go on for so long, in seconds.
GRACE_SECONDS = 3.5

#: Celery looks so often, in seconds, at whether it was told to stop; by itself every 10 s.
LOOK_SECONDS = 0.5

#: The event consumer and the heartbeat may take so long to stop, in seconds; and their loop to answer.
STOP_SECONDS = 1.5
ANSWER_SECONDS = 1.0


class ConsumerStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery publishes no types
    """Runs the event consumer and the worker's heartbeat on the process's loop."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._runtime = runtime_of(parent.app)
        self._serving: asyncio.Task[None] | None = None

    def start(self, parent: Any) -> None:
        """Import the loaders, so that a wrong name stops the worker at once; then start."""
        config: StokerConfig = parent.app.stoker_config
        import_loaders(config.loaders)
        signals.worker_shutting_down.connect(self._leave, weak=False, dispatch_uid=self._signal)
        signals.worker_shutdown.connect(self._stopped, weak=False, dispatch_uid=self._signal)
        parent.timer.call_repeatedly(LOOK_SECONDS, _look_up)
        consumer = EventConsumer(subscription(config, parent.hostname), self._runtime.manager)
        parent.app.stoker_consumer = consumer
        self._serving = self._runtime.loop.run(_begin(_serve(self._runtime, consumer, parent.hostname)))

    def stop(self, parent: Any) -> None:
        """Stop reading events; what was read and not acknowledged is read again by whoever comes next."""
        del parent  # the interface is Celery's
        serving, self._serving = self._serving, None
        if serving is None:
            return
        try:
            self._runtime.loop.run(_end(serving), STOP_SECONDS + ANSWER_SECONDS)
        except TimeoutError:
            logger.warning(
                "action=consumer_not_stopped reason=%s",
                "the event loop does not answer",
                extra={"action": "consumer_not_stopped"},
            )

    terminate = stop

    @property
    def _signal(self) -> tuple[str, int]:
        return "stoker", id(self)

    def _leave(self, **_: Any) -> None:
        self._runtime.leave(GRACE_SECONDS)

    def _stopped(self, **_: Any) -> None:
        """The last thing, once Celery's pool has ended too."""
        signals.worker_shutting_down.disconnect(dispatch_uid=self._signal)
        signals.worker_shutdown.disconnect(dispatch_uid=self._signal)
        self._runtime.stop()


WORKER_STEPS = (ConsumerStep,)


def subscription(config: StokerConfig, name: str) -> Subscription:
    """Return what a worker called `name` reads."""
    keys, events = Keys(config.prefix), config.events
    return Subscription(
        url=config.redis.url,
        stream=events.stream or keys.events,
        dead=f"{events.stream}:dead" if events.stream else keys.dead_events,
        group=events.group,
        name=name,
        batch=events.batch,
        block=events.block,
    )


def consumer_health(app: Any) -> ConsumerHealth | None:
    """Return how the event consumer of this process is doing; None before the worker has started it."""
    consumer = getattr(app, "stoker_consumer", None)
    return consumer.health if isinstance(consumer, EventConsumer) else None


def _look_up() -> None:
    """Do nothing: that its timer rings is enough to make Celery's loop take a turn."""


async def _begin(serving: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(serving, name="stoker-worker-events")


async def _end(serving: asyncio.Task[None]) -> None:
    serving.cancel()
    await asyncio.wait({serving}, timeout=STOP_SECONDS)


async def _serve(runtime: Runtime, consumer: EventConsumer, name: str) -> None:
    """Consume, and tell the fleet how it goes, until cancelled."""
    telling = asyncio.create_task(_tell(runtime, consumer, name), name="stoker-worker-heartbeat")
    try:
        await consumer.run()
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell(runtime: Runtime, consumer: EventConsumer, name: str) -> None:
    """Send heartbeats until cancelled."""
    failed = False
    while True:
        try:
            await _beat(await runtime.manager(), consumer, name)
        except Exception:  # whatever it is, a worker that lives must not be off the list for good
            if not failed:
                logger.exception("action=worker_not_told", extra={"action": "worker_not_told"})
            failed = True
        await asyncio.sleep(BEAT_SECONDS)


async def _beat(manager: CacheManager, consumer: EventConsumer, name: str) -> None:
    heartbeat = Heartbeat(manager, "worker", consumer.health.details(), identity=name)
    await heartbeat.start()
    try:
        while True:
            await asyncio.sleep(BEAT_SECONDS / 2)
            heartbeat.details.update(consumer.health.details())
    finally:
        await heartbeat.stop()
