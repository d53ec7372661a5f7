"""Runs of the fleet's jobs: never two of the same at once, and a record of each.

A record is a hash of its own with a TTL; a bounded list holds the newest ids, and what falls off the
list is removed with it.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stoker.core.errors import LinkError, ReplyError
from stoker.core.ownership import RELEASE, RENEW

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

#: Records are kept so long, in seconds, and so many of a job.
KEPT_SECONDS = 86400
KEPT_RUNS = 500

#: A run whose process dies keeps others out so long, in seconds.
LOCK_SECONDS = 6.0

#: A living run renews its lock so often, in seconds; after a failure it tries again `AGAIN_SECONDS` later, as
#: long as `MARGIN_SECONDS` are left. So an event loop may stand still for four seconds. After more a second
#: run may begin: that costs loads, which are safe to do twice, and the first run is told to end.
RENEW_SECONDS = 2.0
AGAIN_SECONDS = 0.25
MARGIN_SECONDS = 1.0


def new_run_id() -> str:
    """Return an id that sorts by time and is unique over the fleet."""
    return f"{int(time.time() * 1000):013d}-{secrets.token_hex(4)}"


class RunLock:
    """The right to be the only run of a job with a subject; renewed until the block ends.

    `async with RunLock(…) as lock`: then look at `lock.held`. A lock that is lost on the way (the process
    slept, the server lost it) calls `on_lost` with the reason, once.
    """

    def __init__(
        self, manager: CacheManager, job: str, subject: str, on_lost: Callable[[str], None] | None = None
    ) -> None:
        self._manager = manager
        self._name = manager.keys.run_lock(job, subject)
        self._token = secrets.token_hex(16)
        self._on_lost = on_lost
        self._renewer: asyncio.Task[None] | None = None
        self.held = False
        """Whether this run is the one."""

    async def __aenter__(self) -> Self:
        reply = await self._manager.link.call(
            "SET", self._name, self._token, "NX", "PX", int(LOCK_SECONDS * 1000)
        )
        self.held = reply is not None
        if self.held:
            self._renewer = asyncio.create_task(self._renew(), name=f"stoker-lock-{self._name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewer is not None:
            self._renewer.cancel()
            await asyncio.gather(self._renewer, return_exceptions=True)
        if self.held:
            self.held = False
            try:
                await RELEASE.run(self._manager.link, [self._name], self._token)
            except (LinkError, ReplyError):
                return  # its TTL releases it

    async def _renew(self) -> None:
        renewed, pause = time.monotonic(), RENEW_SECONDS
        while True:
            await asyncio.sleep(pause)
            asked = time.monotonic()
            try:
                kept = await RENEW.run(
                    self._manager.link, [self._name], self._token, int(LOCK_SECONDS * 1000)
                )
            except (LinkError, ReplyError):
                pause = AGAIN_SECONDS
                if time.monotonic() - renewed < LOCK_SECONDS - MARGIN_SECONDS:
                    continue
                kept = 0
            if not kept:
                self.held = False
                if self._on_lost is not None:
                    self._on_lost("lock lost")
                return
            renewed, pause = asked, RENEW_SECONDS


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as recorded."""

    job: str
    run_id: str
    fields: dict[str, str]


async def record_run(
    manager: CacheManager, job: str, run_id: str, fields: Mapping[str, str | int | float]
) -> None:
    """Write a run's record and put it first on the job's list.

    Raises:
        LinkError: The server can't be reached.
    """
    link, keys = manager.link, manager.keys
    flat = [part for pair in fields.items() for part in pair]
    replies: list[Any] = await link.calls(
        [
            ("HSET", keys.run(job, run_id), *flat),
            ("EXPIRE", keys.run(job, run_id), KEPT_SECONDS),
            ("LPUSH", keys.runs(job), run_id),
            ("EXPIRE", keys.runs(job), KEPT_SECONDS),
            ("LRANGE", keys.runs(job), KEPT_RUNS, -1),
            ("LTRIM", keys.runs(job), 0, KEPT_RUNS - 1),
        ]
    )
    fallen = [bytes(old).decode(errors="replace") for old in read_list(replies[4])]
    if fallen:
        await link.call("UNLINK", *(keys.run(job, old) for old in fallen))


async def recent_runs(manager: CacheManager, job: str, limit: int = 20) -> list[RunRecord]:
    """Return the newest runs of a job, newest first.

    Raises:
        LinkError: The server can't be reached.
    """
    (ids,) = await manager.link.calls([("LRANGE", manager.keys.runs(job), 0, limit - 1)])
    names = [bytes(run_id).decode(errors="replace") for run_id in read_list(ids)]
    replies = await manager.link.calls([("HGETALL", manager.keys.run(job, name)) for name in names])
    found = [RunRecord(job, name, read_hash(reply)) for name, reply in zip(names, replies, strict=True)]
    return [record for record in found if record.fields]


async def add_totals(manager: CacheManager, job: str, amounts: Mapping[str, int]) -> None:
    """Add to a job's running totals, which start again from zero when the job rests for a day.

    Raises:
        LinkError: The server can't be reached.
    """
    name = manager.keys.run_totals(job)
    added = [("HINCRBY", name, field, amount) for field, amount in amounts.items() if amount]
    if added:
        await manager.link.calls([*added, ("EXPIRE", name, KEPT_SECONDS)])


async def totals(manager: CacheManager, job: str) -> dict[str, int]:
    """Return a job's running totals by field.

    Raises:
        LinkError: The server can't be reached.
    """
    (reply,) = await manager.link.calls([("HGETALL", manager.keys.run_totals(job))])
    amounts = {field: as_number(value) for field, value in read_hash(reply).items()}
    return {field: int(amount) for field, amount in amounts.items() if amount is not None}


def read_list(reply: Any) -> list[Any]:
    """Return an array reply; an error reply or none is empty."""
    found: list[Any] = [] if reply is None or isinstance(reply, ReplyError) else reply
    return found


def as_number(text: str) -> float | None:
    """Return the finite number that a stored text is; None where it is none."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def read_hash(reply: Any) -> dict[str, str]:
    """Return the reply of an HGETALL as texts; an error reply is an empty hash."""
    texts = [bytes(part).decode(errors="replace") for part in read_list(reply)]
    return dict(zip(texts[::2], texts[1::2], strict=True))
