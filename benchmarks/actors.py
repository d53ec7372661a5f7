"""A process of the freshness runs: it reads all keys, changes its own, and judges each read."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.board import Board, Tally
from benchmarks.breaking import break_rule
from benchmarks.judging import Judge
from benchmarks.scenarios import Cell
from stoker.core import CacheConfig, CacheManager, Everything, Key, Pattern, Recipe, Scope, Tag, Type, loader
from stoker.core.loading.conditional import NOT_MODIFIED, NotModified, previous

#: Of this many keys half of all reads and changes are.
HOT_KEYS = 8

GROUPS = 6

#: Events that a process remembers, for the trace of a stale read.
REMEMBERED_EVENTS = 20_000

#: Reads by one task before others of the process get their turn; hits in memory never wait by themselves.
READS_AT_A_STRETCH = 10

Event = tuple[int, str, int, Any]


@dataclass(frozen=True)
class Part:
    """What one process is to do."""

    cell: Cell
    config: CacheConfig
    slot: int
    processes: int
    seed: int
    readers: int
    folder: Path
    broken: str | None = None
    hole_allowed: bool = False
    """Whether stale reads are only counted."""


def name_of(key: int) -> str:
    """The cache's key."""
    return f"g{group_of(key)}-{key}"


def group_of(key: int) -> int:
    """Keys of a group have a tag and a pattern in common; each process has keys in all groups."""
    return key // HOT_KEYS % GROUPS


class Actor:
    """One process's readers and writers."""

    def __init__(self, part: Part, board: Board) -> None:
        self.part = part
        self.board = board
        self.chance = random.Random(part.seed)
        self.tally = Tally(board, part.slot)
        self.manager = CacheManager(part.config, process=f"actor-{part.slot}-{os.getpid()}", recording=False)
        self.api: Any = self.manager
        self.events: deque[Event] = deque(maxlen=REMEMBERED_EVENTS)
        self.mine = [key for key in range(board.keys) if key % part.processes == part.slot]
        bound = part.config.types["item"].memory_bound if part.cell.bounded else 0.0
        self.judge = Judge(board, self.tally, self._note, bound, hole_allowed=part.hole_allowed)
        self._memory_hits = 0

    # -- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read and write until the run is over."""
        await self.manager.connect()
        for key in range(self.board.keys):
            self._note(f"process {os.getpid()} began", key, None)
        if self.part.broken:
            break_rule(self.part.broken, self.manager)
        scenario = self.part.cell.scenario
        readers = {"load": self._read_one, "batch": self._read_batch, "by_hand": self._compute_by_hand}
        jobs = [self._repeat(readers[scenario.reads]) for _ in range(self.part.readers)]
        jobs += [self._write() for _ in range(2)]
        if scenario.touches:
            jobs.append(self._pace(self._touch, 0.002))
        if scenario.reloads:
            jobs.append(self._pace(self._reload, 0.005))
        tasks = [asyncio.create_task(job) for job in jobs]
        while not self.board.stopping:
            await asyncio.sleep(0.02)
            self._look_after(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tell()
        await self.manager.close(1.0)

    def _look_after(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done():
                task.result()  # raises: a job never ends by itself
        hits: int = getattr(self.manager.counters.of("item"), "memory_hits", 0)
        self.tally("from_memory", hits - self._memory_hits)
        self._memory_hits = hits
        if self.board.found is not None:
            self._tell()

    def _tell(self) -> None:
        """Leave what is known of the key that a stale read was of."""
        key = self.board.found
        if key is not None:
            path = self.part.folder / f"{self.part.slot}-{os.getpid()}.json"
            events = [event for event in self.events if event[2] == key]
            path.write_text(json.dumps(events[-400:]), encoding="utf-8")

    async def _repeat(self, job: Callable[[], Awaitable[None]]) -> None:
        for number in itertools.count(1):
            await self._try(job)
            if number % READS_AT_A_STRETCH == 0:
                await asyncio.sleep(0)

    async def _pace(self, job: Callable[[], Awaitable[None]], mean: float) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / mean))
            await self._try(job)

    async def _try(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except Exception as error:  # noqa: BLE001  counted and told: a cache never raises for its troubles
            self.tally("errors")
            trace = "".join(traceback.format_exception(error))
            (self.part.folder / "error.txt").write_text(trace, encoding="utf-8")

    def _note(self, what: str, key: int, detail: Any) -> None:
        self.events.append((time.monotonic_ns(), f"{self.part.slot} {what}", key, detail))

    async def _dawdle(self) -> None:
        """Let others go first, mostly for a few turns of the loop, at times for milliseconds."""
        for _ in range(self.chance.choice((0, 0, 1, 2))):
            await asyncio.sleep(0)
        if self.chance.random() < 0.05:
            await asyncio.sleep(self.chance.random() * 0.01)

    def _some_key(self, keys: Sequence[int]) -> int:
        return keys[int(self.chance.random() * (HOT_KEYS if self.chance.random() < 0.5 else len(keys)))]

    # -- the source -------------------------------------------------------------------------------

    async def load(self, key: int) -> dict[str, int]:
        """What the source has; slowly, so that invalidations come in between."""
        self.tally("loads")
        await self._dawdle()
        version = self.board.source(key)
        self._note("source read", key, version)
        await self._dawdle()
        return {"key": key, "version": version}

    async def load_if_changed(self, key: int) -> dict[str, int] | NotModified:
        """The same, but for a value that is right already."""
        old, new = previous(), await self.load(key)
        if old is None or old.value != new:
            return new
        self.tally("not_modified")
        return NOT_MODIFIED

    # -- reads ------------------------------------------------------------------------------------

    async def _read_one(self) -> None:
        key = self._some_key(range(self.board.keys))
        before = self.judge.before(key)
        if self.chance.random() < 0.2:
            self.judge(before, await self.manager.get("item", name_of(key)), cached=True)
        else:
            reloads = self.part.cell.scenario.reloads
            load: Callable[[int], Awaitable[Any]] = load_item_if_changed if reloads else load_item
            reading = await self.manager.read("item", name_of(key), load, key)
            self.judge(before, reading.value, cached=reading.outcome != "miss")

    async def _read_batch(self) -> None:
        keys = {name_of(key): key for key in (self._some_key(range(self.board.keys)) for _ in range(8))}
        before = [self.judge.before(key) for key in keys.values()]
        if self.chance.random() < 0.3:
            found = await self.api.get_many("item", list(keys))
        else:

            async def load_many(names: Iterable[str]) -> dict[str, Any]:
                return {name: await self.load(keys[name]) for name in names}

            found = await self.api.get_or_load_many("item", list(keys), load_many)
        for noted in before:
            self.judge(noted, found.get(name_of(noted[0])), cached=True)

    async def _compute_by_hand(self) -> None:
        key = self._some_key(range(self.board.keys))
        name, before = name_of(key), self.judge.before(key)
        found = await self.manager.get("item", name)
        self.judge(before, found, cached=True)
        if found is not None:
            return
        token = await self.api.fill("item", name) if self.chance.random() < 0.3 else None
        value = await self.load(key)
        extra = {} if token is None else {"token": token}
        tags = [f"g{group_of(key)}"]
        self.tally("stored", await self.api.set("item", name, value, tags=tags, **extra))

    # -- changes ----------------------------------------------------------------------------------

    async def _write(self) -> None:
        ways: dict[str, tuple[Callable[[], Awaitable[None]], float]] = {
            "delete": (self._change_key, 0.004),
            "tag": (self._change_by_tag, 0.01),
            "pattern": (self._change_by_pattern, 0.01),
            "type": (self._change_type, 0.04),
            "everything": (self._change_everything, 0.04),
            "batch": (self._change_batch, 0.008),
            "write_through": (self._write_through, 0.006),
            "mixed": (self._change_somehow, 0.006),
        }
        way, mean = ways[self.part.cell.scenario.changes]
        await self._pace(way, mean)

    async def _change(self, keys: Iterable[int], invalidate: Callable[[], Awaitable[bool]]) -> None:
        versions = {key: self.board.commit(key) for key in keys}
        for key, version in versions.items():
            self._note("committed", key, version)
        await self._dawdle()
        acknowledged = await invalidate()
        self.tally("writes")
        for key, version in versions.items():
            self.judge.obeys(key, version)
            if acknowledged:
                self.board.acknowledge(key, version)
            self._note("acknowledged" if acknowledged else "kept", key, version)
        self.tally("acknowledged", acknowledged)

    async def _invalidate(self, *scopes: Scope) -> bool:
        return (await self.manager.invalidate(*scopes)).acknowledged

    def _some_of_group(self) -> tuple[int, list[int]]:
        group = group_of(self._some_key(self.mine))
        keys = [key for key in self.mine if group_of(key) == group]
        return group, self.chance.sample(keys, self.chance.randint(1, min(4, len(keys))))

    async def _change_key(self) -> None:
        key = self._some_key(self.mine)

        async def invalidate() -> bool:
            if self.chance.random() < 0.5:
                return await self._invalidate(Key("item", name_of(key)))
            kept = self.manager.log.kept.total
            await self.manager.delete("item", name_of(key))
            return self.manager.log.kept.total == kept

        await self._change([key], invalidate)

    async def _change_by_tag(self) -> None:
        group, keys = self._some_of_group()
        await self._change(keys, lambda: self._invalidate(Tag(f"g{group}")))

    async def _change_by_pattern(self) -> None:
        group, keys = self._some_of_group()
        pattern = self.chance.choice((f"g{group}-*", f"g{group}*", f"?{group}-*"))
        await self._change(keys, lambda: self._invalidate(Pattern("item", pattern)))

    async def _change_type(self) -> None:
        await self._change(self.chance.sample(self.mine, 4), lambda: self._invalidate(Type("item")))

    async def _change_everything(self) -> None:
        await self._change(self.chance.sample(self.mine, 4), lambda: self._invalidate(Everything()))

    async def _change_batch(self) -> None:
        keys = self.chance.sample(self.mine, self.chance.randint(1, 8))

        async def invalidate() -> bool:
            if self.chance.random() < 0.5:
                return await self._invalidate(*(Key("item", name_of(key)) for key in keys))
            kept = self.manager.log.kept.total
            await self.api.delete_many("item", [name_of(key) for key in keys])
            return self.manager.log.kept.total == kept

        await self._change(keys, invalidate)

    async def _change_somehow(self) -> None:
        ways = (self._change_key, self._change_key, self._change_by_tag, self._change_by_pattern)
        await self.chance.choice(ways)()

    async def _write_through(self) -> None:
        key = self._some_key(self.mine)
        fails = self.chance.random() < 0.1
        write: Any = None
        version = 0
        with contextlib.suppress(_SourceError):
            async with self.api.write_through("item", name_of(key)) as write:
                await self._dawdle()
                version = self.board.commit(key)
                self._note("committed", key, version)
                await self._dawdle()
                if fails:
                    raise _SourceError
                write.value = {"key": key, "version": version}
                write.tags = [f"g{group_of(key)}"]
        self.tally("writes")
        self.tally("stored", write.stored)
        self.judge.obeys(key, version)
        if write.receipt.acknowledged:
            self.board.acknowledge(key, version)
            self.tally("acknowledged")
        self._note(f"written through, stored {write.stored}", key, version)

    async def _touch(self) -> None:
        key = self._some_key(range(self.board.keys))
        if self.chance.random() < 0.5:
            await self.api.touch("item", name_of(key))
        else:
            await self.api.expire("item", name_of(key), 0.05 + self.chance.random())

    async def _reload(self) -> None:
        key = self._some_key(range(self.board.keys))
        await self.manager.reload("item", name_of(key), Recipe("benchmarks.item_if_changed", (key,)))


class _SourceError(Exception):
    """The source refused a change, or did not say whether it took it."""


_ACTORS: list[Actor] = []


@loader("benchmarks.item", cache_type="item", tags=lambda value: [f"g{group_of(value['key'])}"])
async def load_item(key: int) -> dict[str, int]:
    """Load through the actor of this process."""
    return await _ACTORS[0].load(key)


@loader("benchmarks.item_if_changed", cache_type="item", tags=lambda value: [f"g{group_of(value['key'])}"])
async def load_item_if_changed(key: int) -> dict[str, int] | NotModified:
    """The same, conditionally."""
    return await _ACTORS[0].load_if_changed(key)


def act(part: Part, board: Board) -> None:
    """The main function of a process."""
    actor = Actor(part, board)
    _ACTORS[:] = [actor]
    asyncio.run(actor.run())
