"""One replay: reads and writes at their times, and the watching of what comes of them."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from redis.exceptions import RedisError

from examples.shop.follower import LogFollower
from examples.shop.http_client import Answer, HttpClient, HttpError
from examples.shop.report import Tally, build, quantile
from examples.shop.truth import Truth

#: A read is judged so many seconds after it began: no reply takes longer (the client waits 5 s for one).
JUDGE_AFTER_SECONDS = 12.0

#: Seconds to wait, at the end, for the last events to show up in the log.
LAST_EVENTS_SECONDS = 5.0

#: Writes go to one of so many products that were asked for last: what nobody reads can't be found stale.
RECENT_REQUESTS = 500

#: Requests under way of which nothing is known yet; more are not sent but counted as errors.
MAX_UNDER_WAY = 5_000

#: Seconds between two lines of progress.
PROGRESS_SECONDS = 10.0

#: Seconds to wait for the shop at the start.
SHOP_SECONDS = 60.0


T = TypeVar("T")


class ReplayError(Exception):
    """The replay can't be made; the message says what to do."""


class _Page(msgspec.Struct):
    """What the client looks at in a product's page."""

    version: int


class _Reply(msgspec.Struct):
    """What the client looks at in the reply to a price change."""

    version: int
    event_id: str
    published: str | None


class _Stats(msgspec.Struct):
    """What the client looks at in the shop's figures."""

    loads: dict[str, int]
    redis: str
    log: str


@dataclass(frozen=True)
class Plan:
    """What a replay does."""

    url: str
    products: Iterator[int]
    """Which products to ask for, in order."""
    rate: float = 300.0
    """Requests a second."""
    seconds: float | None = None
    """How long at most, warm-up included."""
    writes: float = 0.0
    """Price changes a second."""
    warmup: float = 0.0
    """Reads of the first so many seconds are not counted."""
    redis: str | None = None
    """The server with the invalidation log; the one that the shop names where not given."""
    connections: int = 128
    """Requests under way at once."""
    timeout: float = 5.0
    """Seconds until a request is given up, its waiting for a connection included."""
    endless: bool = False
    """Start anew with counting after each line of progress: for traffic that goes on for days."""
    seed: int = 1


class Replay:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self.truth = Truth()
        self.stopping = asyncio.Event()
        """Set it to end the replay early; the report is of what was done."""
        self._client = HttpClient(plan.url, connections=plan.connections, timeout=plan.timeout)
        self._chance = random.Random(plan.seed)
        self._recent: deque[int] = deque(maxlen=RECENT_REQUESTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._published: dict[str, str] = {}
        self._records: dict[str, str] = {}
        self._began = 0.0

    async def run(self) -> dict[str, Any]:
        """Do what the plan says, and report. Raises `ReplayError` if there is no shop or no log."""
        stats = await self._unless_stopped(self._wait_for_shop())
        follower = LogFollower(self.plan.redis or stats.redis, stats.log, self._record_seen)
        background = [asyncio.create_task(self._watch())]
        try:
            if self.plan.writes:
                await self._follow(follower)
                background += [asyncio.create_task(follower.run()), asyncio.create_task(self._write_all())]
            return await self._measure(background)
        finally:
            for task in [*background, *self._tasks]:
                task.cancel()
            await asyncio.gather(*background, *self._tasks, return_exceptions=True)
            await follower.close()
            await self._client.close()

    async def _measure(self, background: list[asyncio.Task[None]]) -> dict[str, Any]:
        self._began = time.perf_counter()
        loads_before, counted_from = await self._read_all()
        seconds = time.perf_counter() - counted_from
        self.stopping.set()  # the writer looks at it
        before = after = None
        if not self.plan.endless:  # which counts no more, and ends at once
            await asyncio.gather(*self._tasks)
            if self.plan.writes:
                await self._last_events()
            before, after = await loads_before, await self._loads()
        self.truth.settle(float("inf"))
        loads = {name: after[name] - before.get(name, 0) for name in after} if before and after else None
        for task in background:
            if task.done() and not task.cancelled():
                task.result()
        return build(self.tally, self.truth, loads, seconds=seconds)

    # -- reads ------------------------------------------------------------------------------------

    async def _read_all(self) -> tuple[asyncio.Task[dict[str, int] | None], float]:
        """Send all reads at their times; return the loads and the moment at which counting began."""
        counted_from = self._began + self.plan.warmup
        loads: asyncio.Task[dict[str, int] | None] | None = None
        for number, product in enumerate(self.plan.products):
            due = self._began + number / self.plan.rate
            if self.plan.seconds is not None and due - self._began >= self.plan.seconds:
                break
            await self._until(due)
            if self.stopping.is_set():
                break
            counted = due >= counted_from
            if counted and loads is None:
                loads = asyncio.create_task(self._loads())
            self._start_read(product, due, counted=counted)
        return loads or asyncio.create_task(self._loads()), counted_from

    def _start_read(self, product: int, due: float, *, counted: bool) -> None:
        self._recent.append(product)
        if len(self._tasks) < MAX_UNDER_WAY:
            self._spawn(self._read(product, due, counted=counted))
        elif counted:
            self.tally.requests += 1
            self.tally.failed("not sent: too many requests wait for an answer")

    async def _read(self, product: int, due: float, *, counted: bool) -> None:
        began = time.perf_counter()
        tally = self.tally if counted else Tally()
        tally.requests += 1
        tally.late_seconds.append(began - due)
        try:
            answer = await self._client.get(f"/products/{product}")
            version = _decode(answer, _Page).version
        except HttpError as error:
            tally.failed(str(error))
            return
        ended = time.perf_counter()
        tally.answered(ended)
        tally.read_seconds.append(ended - due)
        self.truth.read(product, version, began)
        outcome = answer.headers.get("x-cache", "miss")
        kind = self.truth.miss(product, began=began, ended=ended, missed=outcome == "miss")
        if outcome == "miss":
            tally.misses += 1
            tally.kinds[kind or "cold"] += 1
        else:
            tally.hits += 1
            tally.stale_hits += outcome == "stale"

    # -- writes -----------------------------------------------------------------------------------

    async def _write_all(self) -> None:
        begin = time.perf_counter()
        number = 0
        while not self.stopping.is_set():
            number += 1
            await self._until(begin + number / self.plan.writes)
            if self._recent and len(self._tasks) < MAX_UNDER_WAY and not self.stopping.is_set():
                self._spawn(self._write(self._chance.choice(self._recent)))

    async def _write(self, product: int) -> None:
        self.tally.writes += 1
        self.truth.writing(product)
        body = msgspec.json.encode({"price_cents": self._chance.randrange(100, 100_000)})
        try:
            reply = _decode(await self._client.put(f"/products/{product}/price", body), _Reply)
        except HttpError:
            # It may have been done: then the product has a later version than expected, which is no fault.
            self.tally.write_errors += 1
            return
        self.truth.wrote(reply.event_id, product, reply.version, time.perf_counter())
        if reply.published is None:
            self.tally.unpublished += 1
        else:
            self._published[reply.event_id] = reply.published
        self._match(reply.event_id)

    def _record_seen(self, event_id: str, record: str, at: float) -> None:
        self.truth.recorded(event_id, at)
        self._records[event_id] = record
        self._match(event_id)

    def _match(self, event_id: str) -> None:
        """Count a write once both its reply and its record are there."""
        if event_id not in self._records or self.truth.awaits_reply(event_id):
            return
        record, published = self._records.pop(event_id), self._published.pop(event_id, None)
        self.tally.recorded += 1
        if published is not None:
            self.tally.log_seconds.append(_moment(record) - _moment(published))

    async def _last_events(self) -> None:
        end = time.monotonic() + LAST_EVENTS_SECONDS
        while self.truth.unrecorded() and time.monotonic() < end:  # noqa: ASYNC110 - short, and at the end
            await asyncio.sleep(0.05)

    # -- around -----------------------------------------------------------------------------------

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, or give it up with a `ReplayError` as soon as the replay is to end."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self.stopping.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            raise ReplayError(f"stopped while waiting for the shop at {self.plan.url}")
        return task.result()

    async def _wait_for_shop(self) -> _Stats:
        end = time.monotonic() + SHOP_SECONDS
        while True:
            try:
                return _decode(await self._client.get("/stats"), _Stats)
            except HttpError as error:
                if time.monotonic() > end and not self.plan.endless:
                    raise ReplayError(
                        f"no shop at {self.plan.url} ({error}): start one with `scripts/up`"
                    ) from error
                await asyncio.sleep(0.2)

    async def _follow(self, follower: LogFollower) -> None:
        try:
            await follower.start()
        except (RedisError, OSError) as error:
            raise ReplayError(
                f"can't follow the invalidation log ({error}): name its server with --redis"
            ) from error

    async def _loads(self) -> dict[str, int] | None:
        try:
            return _decode(await self._client.get("/stats"), _Stats).loads
        except HttpError:
            return None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            now = time.perf_counter()
            self.truth.settle(now - JUDGE_AFTER_SECONDS)
            sys.stderr.write(f"{now - self._began:6.0f} s  {self._progress()}\n")
            if self.plan.endless:
                self.tally = Tally()
                self._records.clear()
                self._published.clear()

    def _progress(self) -> str:
        tally = self.tally
        served = tally.hits + tally.misses
        p50, p99 = (quantile(tally.read_seconds, share) or 0.0 for share in (0.5, 0.99))
        return (
            f"{tally.requests:,} requests  hit rate {tally.hits / served if served else 0:.1%}  "
            f"p50 {p50 * 1000:.1f} ms  p99 {p99 * 1000:.1f} ms  errors {tally.errors.total()}  "
            f"writes {tally.writes}  stale {self.truth.verdicts.stale_after_applied}"
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until(self, due: float) -> None:
        # Also when late: requests that were sent must get a chance to leave.
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


def _moment(stream_id: str) -> float:
    """The time in a Redis stream's id, seconds."""
    return int(stream_id.partition("-")[0]) / 1000


def _decode(answer: Answer, shape: type[T]) -> T:
    if answer.status != 200:
        raise HttpError(f"status {answer.status}")
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except msgspec.DecodeError as error:
        raise HttpError(f"an answer that can't be read: {error}") from error
