"""The scheduler: Celery's, led by one of several beats.

The leader is whoever holds a lease in Redis. It fails closed: without the lease nothing is sent. When the
leader is gone another takes over, with the times at which each entry last ran, so that no run is doubled and
a missed one is made up for. Nothing fences a leader that was asleep, so tasks are idempotent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from datetime import UTC, datetime
from typing import Any, cast

import redis
from celery.beat import Scheduler
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from stoker.core.keys import Keys
from stoker.core.link.clients import blocking_client
from stoker.core.maintenance.heartbeat import default_identity, heartbeat_commands
from stoker.worker.config import StokerConfig
from stoker.worker.lease import Lease

logger = logging.getLogger(__name__)

#: The server and the broker may take so long to answer one question, in seconds.
ANSWER_SECONDS = 2.0

#: The longest pause between two looks at the schedule and the lease, in seconds.
LONGEST_PAUSE_SECONDS = 1.0

#: How often this beat says that it is alive, in seconds.
HEARTBEAT_SECONDS = 2.0


class LeaderScheduler(Scheduler):  # type: ignore[misc]  # Celery publishes no types
    """Sends what is due while it leads; otherwise stands by."""

    max_interval = LONGEST_PAUSE_SECONDS

    app: Any
    schedule: Any

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        config: StokerConfig = app.stoker_config
        self.keys = Keys(config.prefix)
        self.identity = default_identity()
        self.leading = False
        self.ticked = time.monotonic()
        self.sent = 0
        self._unsent: Any = None
        self._started = time.time()
        self._told = float("-inf")
        self._pause = min(LONGEST_PAUSE_SECONDS, config.beat.lease / 5)
        self._client: Any = blocking_client(
            config.redis.url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self.lease = Lease(self._client, self.keys.beat, config.beat.lease, self.identity)
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Take the schedule from the application's settings."""
        self.merge_inplace(self.app.conf.beat_schedule)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Contend for the lease; as the leader, send one due entry. Return the pause until the next tick.

        Nothing that the server or the broker does ends beat: it tries again.
        """
        self.ticked = time.monotonic()
        self._lead(leading=self.lease.contend())
        self._tell()
        if not self.leading:
            return self._pause
        pause: Any = self._pause
        try:
            pause = cast("Any", super()).tick(*args, **kwargs)
        except (OperationalError, OSError, redis.RedisError) as error:
            logger.warning("action=beat_broker_lost reason=%s", error, extra={"action": "beat_broker_lost"})
            self._forget_connection()
        if self._unsent is not None:
            self._put_back(self._unsent)
            pause = self._pause
        return max(0.0, min(float(pause), self._pause))

    def reserve(self, entry: Any) -> Any:
        """Note a run as done, as Celery does before it sends one; `tick` takes that back if it isn't sent."""
        self._unsent = entry
        return cast("Any", super()).reserve(entry)

    def _put_back(self, entry: Any) -> None:
        """Make an entry due again that wasn't sent; last, so that it keeps no other from being sent."""
        self._unsent = None
        self.schedule.pop(entry.name, None)
        self.schedule[entry.name] = entry
        self._heap = None

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Send an entry's task and note when, unless the lease was lost on the way here."""
        if not self.lease.held:
            return
        try:
            result = cast("Any", self).apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # noqa: BLE001 - one entry that can't be sent must not stop the others
            logger.warning(
                "action=beat_not_sent entry=%s reason=%s",
                entry.name,
                error,
                extra={"action": "beat_not_sent"},
            )
            self._forget_connection()
            return
        self._unsent = None
        self.sent += 1
        logger.debug(
            "action=beat_sent entry=%s trace=%s",
            entry.name,
            result.id,
            extra={"action": "beat_sent", "entry": entry.name, "trace": result.id},
        )
        with contextlib.suppress(
            redis.RedisError
        ):  # the next leader then repeats one run: tasks are idempotent
            self._client.hset(self.keys.beat_last, entry.name, f"{time.time():.3f}")

    def _lead(self, *, leading: bool) -> None:
        if leading and not self.leading:
            try:
                self._take_over()
            except redis.RedisError as error:
                logger.warning(
                    "action=beat_not_taken_over reason=%s", error, extra={"action": "beat_standby"}
                )
                return  # without the last runs nothing is sent: the next tick tries again
        if leading != self.leading:
            action = "beat_leads" if leading else "beat_stands_by"
            logger.info("action=%s identity=%s", action, self.identity, extra={"action": action})
            self._told = float("-inf")
        self.leading = leading

    def _take_over(self) -> None:
        """Go on from when each entry last ran, whoever ran it."""
        last: dict[bytes, bytes] = self._client.hgetall(self.keys.beat_last)
        for name, ran in last.items():
            entry = self.schedule.get(name.decode())
            if entry is None:
                self._client.hdel(self.keys.beat_last, name)
            else:
                entry.last_run_at = datetime.fromtimestamp(float(ran), UTC)
        self._heap = None  # made again from these times

    def _forget_connection(self) -> None:
        """Open a new connection to the broker for what is sent next."""
        self.__dict__.pop("producer", None)
        connection = self.__dict__.pop("connection", None)
        if connection is not None:
            with contextlib.suppress(Exception):  # it is broken: closing it may fail in any way
                connection.release()
        self._heap = None

    def _ensure_connected(self) -> Any:
        """Connect to the broker, or say soon that it can't be reached: the lease is to be renewed."""
        return cast("Any", self).connection.ensure_connection(
            max_retries=1, interval_start=0, timeout=ANSWER_SECONDS, reraise_as_library_errors=True
        )

    def _tell(self) -> None:
        """Say that this beat is alive, and whether it leads."""
        if time.monotonic() - self._told < HEARTBEAT_SECONDS:
            return
        details = {"leader": int(self.leading), "sent": self.sent, "entries": len(self.schedule)}
        pipeline = self._client.pipeline(transaction=False)
        for command in heartbeat_commands(self.keys, "beat", self.identity, details, self._started):
            pipeline.execute_command(*command)
        with contextlib.suppress(redis.RedisError):  # the lease has just told of it
            pipeline.execute()
            self._told = time.monotonic()

    def close(self) -> None:
        """Release the lease, so that a standby leads at once, and take this beat off the list."""
        self.leading = False
        self.lease.release()
        with contextlib.suppress(redis.RedisError):  # its TTL does the same
            self._client.delete(self.keys.process("beat", self.identity))
            self._client.zrem(self.keys.processes, f"beat:{self.identity}")
        super().close()
        self._client.close()


class BeatLoop:
    """Ticks a scheduler until told to stop."""

    def __init__(self, scheduler: LeaderScheduler) -> None:
        self.scheduler = scheduler
        # No Event: its lock may be held by the very code that a signal interrupts.
        self._wake: tuple[int, int] | None = os.pipe()

    def stop(self, *_: object) -> None:
        """End `run`; may be called from a signal handler, and once more after the end."""
        if self._wake is not None:
            os.write(self._wake[1], b".")

    def run(self) -> None:
        """Tick until `stop`, then release the lease."""
        wake, pause = self._wake, 0.0
        if wake is None:
            return
        try:
            while not select.select([wake[0]], [], [], max(0.0, pause))[0]:
                pause = self.scheduler.tick()
        finally:
            self.scheduler.close()
            self._wake = None  # first, for a signal that comes now: the numbers may soon be other files'
            for end in wake:
                os.close(end)
