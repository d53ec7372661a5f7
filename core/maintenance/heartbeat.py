"""Which processes of the fleet are alive: each says so every few seconds.

A heartbeat's age is told by the TTL that is left of it, so no two clocks are ever compared.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stoker.core.background import Background
from stoker.core.errors import LinkError
from stoker.core.warming.runs import read_hash, read_list

if TYPE_CHECKING:
    from stoker.core.keys import Keys
    from stoker.core.manager import CacheManager

logger = logging.getLogger(__name__)

#: Seconds between heartbeats; after `ALIVE_SECONDS` without one a process counts as dead, and after
#: `KEPT_SECONDS` it is forgotten.
BEAT_SECONDS = 5.0
ALIVE_SECONDS = 15.0
KEPT_SECONDS = 300

#: Processes that are told apart.
MOST_PROCESSES = 10_000

Details = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process as its last heartbeat described it."""

    component: str
    """`worker`, `beat`, `exporter`, or what a service calls itself."""
    identity: str
    age: float
    """Seconds since its last heartbeat."""
    fields: dict[str, str]
    """`host`, `pid`, `started` (unix time), and what the component adds."""

    @property
    def alive(self) -> bool:
        """Whether its last heartbeat is recent."""
        return self.age < ALIVE_SECONDS


def default_identity() -> str:
    """Return a name for this process: host and process id."""
    return f"{socket.gethostname()}.{os.getpid()}"


def heartbeat_commands(
    keys: Keys, component: str, identity: str, details: Details, started: float
) -> list[tuple[str | int | float, ...]]:
    """Return the commands of one heartbeat, for a process that sends them over a client of its own."""
    name, index, now = keys.process(component, identity), keys.processes, time.time()
    fields: dict[str, str | int | float] = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": f"{started:.3f}",
        "seen": f"{now:.3f}",
        **details,
    }
    return [
        ("HSET", name, *(part for pair in fields.items() for part in pair)),
        ("EXPIRE", name, KEPT_SECONDS),
        ("ZADD", index, f"{now:.3f}", f"{component}:{identity}"),
        ("ZREMRANGEBYSCORE", index, "-inf", f"{now - 2 * KEPT_SECONDS:.3f}"),
        ("ZREMRANGEBYRANK", index, 0, -1 - MOST_PROCESSES),
        ("EXPIRE", index, KEPT_SECONDS),
    ]


class Heartbeat:
    """A background task that says every few seconds that this process is alive.

    Args:
        manager: The cache whose server is told.
        component: What the process is: `worker`, `exporter`, `shop`; no colon.
        details: Further fields; change the mapping and the next heartbeat tells.
        identity: Tells it from others of its kind; host and process id by default.
    """

    def __init__(
        self,
        manager: CacheManager,
        component: str,
        details: Details | None = None,
        *,
        identity: str | None = None,
    ) -> None:
        self._manager = manager
        self.component = component
        self.identity = identity or default_identity()
        self.details: dict[str, str | int | float] = dict(details or {})
        self._started = time.time()
        self._background = Background(self._run, "stoker-heartbeat")
        self._failed = False

    async def start(self) -> None:
        """Send the first heartbeat, then one every few seconds; a second start does nothing.

        Whoever gives up waiting for the first has not started it.
        """
        if self._background.running:
            return
        try:
            await self._try_beat()
        except BaseException:  # a cancellation: nobody would stop what has not started
            await self._leave()
            raise
        self._background.start()

    async def stop(self) -> None:
        """Stop, and take this process off the list if the server answers."""
        if await self._background.stop():
            await self._leave()

    async def _leave(self) -> None:
        keys = self._manager.keys
        try:
            await self._manager.link.calls(
                [
                    ("UNLINK", keys.process(self.component, self.identity)),
                    ("ZREM", keys.processes, f"{self.component}:{self.identity}"),
                ]
            )
        except LinkError:
            return  # its TTL does the same

    async def beat(self) -> None:
        """Send one heartbeat.

        Raises:
            LinkError: The server can't be reached.
        """
        await self._manager.link.calls(
            heartbeat_commands(self._manager.keys, self.component, self.identity, self.details, self._started)
        )

    async def _try_beat(self) -> None:
        try:
            await self.beat()
        except LinkError as error:
            logger.debug("action=heartbeat_missed reason=%s", error)
        except Exception:  # whatever it is, a process that lives must not be off the list for good
            if not self._failed:
                logger.exception("action=heartbeat_failed", extra={"action": "heartbeat_failed"})
            self._failed = True
        else:
            self._failed = False

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._try_beat()


async def processes(manager: CacheManager) -> list[ProcessInfo]:
    """Return the processes that were heard of lately, by component and identity.

    Raises:
        LinkError: The server can't be reached.
    """
    (members,) = await manager.link.calls([("ZRANGE", manager.keys.processes, 0, -1)])
    names = [
        (component, identity)
        for member in read_list(members)
        for component, colon, identity in [bytes(member).decode(errors="replace").partition(":")]
        if colon  # whoever wrote another one, it is no process
    ]
    commands: list[tuple[str, ...]] = []
    for component, identity in names:
        name = manager.keys.process(component, identity)
        commands += [("HGETALL", name), ("PTTL", name)]
    replies = await manager.link.calls(commands)
    found: list[ProcessInfo] = []
    for (component, identity), fields, left in zip(names, replies[::2], replies[1::2], strict=True):
        if isinstance(left, int) and left > 0:
            found.append(ProcessInfo(component, identity, KEPT_SECONDS - left / 1000, read_hash(fields)))
    return sorted(found, key=lambda info: (info.component, info.identity))
