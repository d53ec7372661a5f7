"""What callers notice of a server that freezes or dies: slow calls, the way back, lost invalidations.

Callers read through the cache, at a steady pace, keys that are sometimes there and sometimes not, with a
loader of a few milliseconds. In the middle the server is frozen (SIGSTOP), or killed and started again.
What the cache adds to a call is its duration less what its loader took. While the server is away,
invalidations are made; afterwards each is looked for in the log, from outside.

    python -m benchmarks.outage --callers 50 --away 4
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tests.servers import RedisServer

from benchmarks.measuring import in_milliseconds, milliseconds, print_document, tell, version
from benchmarks.peer_caches import PEERS, PeerCache
from benchmarks.servers import configuration, server
from stoker.core import CacheManager, Key, Receipt, Scope, Tag
from stoker.core.log.scopes import to_field

How = Literal["frozen", "killed"]
Load = Callable[[], Awaitable[int]]

#: A call to which the cache adds more than this is slow; the figure for all others is given beside.
SLOW_SECONDS = 0.02

#: Rounds of slow calls after which a cache must know, and add nothing any more.
ALLOWED_ROUNDS = 3

#: Invalidations between two looks at the loop.
BURST = 20

#: Seconds that invalidations may take to stand in the log, before the rest is called lost.
PATIENCE_SECONDS = 30.0


@dataclass(slots=True)
class Call:
    """One read by one caller, in seconds of `time.perf_counter`."""

    began: float
    ended: float
    loading: float
    """What its loader took of that."""
    hit: bool

    @property
    def added(self) -> float:
        """What the cache added."""
        return self.ended - self.began - self.loading


class Subject(Protocol):
    """A cache under test."""

    async def open(self, url: str) -> None:
        """Connect."""

    async def read(self, key: str, load: Load) -> int:
        """Answer from the cache, or load and store; trouble with the cache is a miss."""
        ...

    async def close(self) -> None:
        """Disconnect."""


class Stoker:
    """This project's, with its default limits."""

    async def open(self, url: str) -> None:  # noqa: D102
        self.manager = CacheManager(configuration(url, {"item": {}}), recording=False)
        await self.manager.connect()

    async def read(self, key: str, load: Load) -> int:  # noqa: D102
        return await self.manager.get_or_load("item", key, load)

    async def close(self) -> None:  # noqa: D102
        await self.manager.close()


class Peer:
    """Another cache, used as one would use it: get, and on a miss load and set."""

    def __init__(self, cache: PeerCache) -> None:
        self._cache = cache

    async def open(self, url: str) -> None:  # noqa: D102
        await self._cache.open(url)

    async def read(self, key: str, load: Load) -> int:  # noqa: D102
        try:
            found = await self._cache.get(key)
        except Exception:  # noqa: BLE001  a cache that raises is a miss for careful callers
            found = None
        if isinstance(found, int):
            return found
        value = await load()
        with contextlib.suppress(Exception):
            await self._cache.set(key, value)
        return value

    async def close(self) -> None:  # noqa: D102
        with contextlib.suppress(Exception):  # its connections may be gone
            await self._cache.close()


@dataclass
class Traffic:
    """Callers that read at a steady pace until they are told to stop."""

    subject: Subject
    callers: int
    pause: float
    load_seconds: float
    seed: int
    calls: list[Call] = field(default_factory=list[Call])
    stopping: bool = False

    async def run(self) -> None:
        """Read until told to stop."""
        await asyncio.gather(*(self._caller(number) for number in range(self.callers)))

    async def _caller(self, number: int) -> None:
        chance = random.Random(self.seed * 1000 + number)
        await asyncio.sleep(self.pause * chance.random())
        while not self.stopping:
            # Keys of its own: whoever waits for another's load is not slow by the cache.
            await self._call(f"{number}-{chance.randrange(20)}")
            await asyncio.sleep(self.pause * (0.5 + chance.random()))

    async def _call(self, key: str) -> None:
        loading = 0.0
        began = time.perf_counter()

        async def load() -> int:
            nonlocal loading
            start = time.perf_counter()
            await asyncio.sleep(self.load_seconds)
            loading = time.perf_counter() - start
            return 1

        await self.subject.read(key, load)
        self.calls.append(Call(began, time.perf_counter(), loading, loading == 0.0))


def rounds(calls: Sequence[Call]) -> list[list[Call]]:
    """Slow calls in the order they began; those in flight together are one round."""
    found: list[list[Call]] = []
    until = 0.0
    for call in sorted((call for call in calls if call.added > SLOW_SECONDS), key=lambda call: call.began):
        if not found or call.began > until:
            found.append([])
        found[-1].append(call)
        until = max(until, call.ended)
    return found


def judge(calls: Sequence[Call], gone: float, back: float) -> dict[str, Any]:
    """What callers noticed: before, while the server was away, and after."""
    away = [call for call in calls if call.ended > gone and call.began < back]
    slow = rounds(away)
    settled = max((call.ended for part in slow[:ALLOWED_ROUNDS] for call in part), default=gone)
    later = [call.added for call in away if call.began >= settled]
    hits = [call.ended for call in calls if call.began > back and call.hit]
    return {
        "calls_before": in_milliseconds([call.added for call in calls if call.ended <= gone]),
        "calls_away": len(away),
        "slow_rounds": len(slow),
        "slow_calls": sum(len(part) for part in slow),
        "slowest_call_ms": milliseconds(max((call.added for call in away), default=0.0)),
        "added_then_ms": in_milliseconds(later),
        "answered_from_the_cache_again_after_seconds": round(min(hits) - back, 3) if hits else None,
        "slowest_call_after_ms": milliseconds(
            max((call.added for call in calls if call.began >= back), default=0.0)
        ),
    }


class Invalidations:
    """Made one by one while the server is away, and looked for in the log from outside."""

    def __init__(self, manager: CacheManager, count: int) -> None:
        self._manager = manager
        self.scopes: list[Scope] = [
            Tag(f"away-{n}") if n % 10 == 0 else Key("item", f"away-{n}") for n in range(count)
        ]
        self.seconds: list[float] = []
        self.acknowledged = 0

    async def make(self, seconds: float) -> None:
        """Spread over so many seconds."""
        bursts = max(1, len(self.scopes) // BURST)
        for start in range(0, len(self.scopes), BURST):
            for scope in self.scopes[start : start + BURST]:
                began = time.perf_counter()
                receipt: Receipt = await self._manager.invalidate(scope)
                self.seconds.append(time.perf_counter() - began)
                self.acknowledged += receipt.acknowledged
            await asyncio.sleep(seconds / bursts)

    async def appended(self, running: RedisServer, since: float) -> dict[str, Any]:
        """Wait until all of them stand in the log, each by itself or covered by a wider scope."""
        missing, wider = self._missing(running)
        while missing and time.perf_counter() - since < PATIENCE_SECONDS:
            await asyncio.sleep(0.05)
            missing, wider = self._missing(running)
        return {
            "made": len(self.scopes),
            "acknowledged_at_once": self.acknowledged,
            "call_ms": in_milliseconds(self.seconds),
            "lost": missing,
            "widened": wider,
            "all_in_the_log_after_seconds": None if missing else round(time.perf_counter() - since, 3),
        }

    def _missing(self, running: RedisServer) -> tuple[int, bool]:
        """How many stand nowhere in the log, and whether wider scopes stand for some."""
        client = running.client()
        # By a script: redis-py makes a dict of a record's fields, and a record may name many keys.
        records: Any = client.eval(
            "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, self._manager.keys.log
        )
        client.close()
        found: set[tuple[bytes, bytes]] = set()
        for _, fields in records:
            found.update(zip(fields[::2], fields[1::2], strict=True))
        everything = any(name == b"everything" for name, _ in found)
        whole_type = (b"type", b"item") in found
        missing = 0
        for scope in self.scopes:
            name, text = to_field(scope)
            covered = everything or (whole_type and name == "key")
            missing += not covered and (name.encode(), text.encode()) not in found
        return missing, everything or whole_type


async def measure(subject: Subject, how: How, options: argparse.Namespace, away: float) -> dict[str, Any]:
    """One outage with a server of its own."""
    with server() as running:
        await subject.open(running.url)
        traffic = Traffic(
            subject, options.callers, options.pause_ms / 1000, options.load_ms / 1000, options.seed
        )
        task = asyncio.create_task(traffic.run())
        await asyncio.sleep(options.before)
        gone = time.perf_counter()
        running.freeze() if how == "frozen" else running.kill()
        made = Invalidations(subject.manager, options.invalidations) if isinstance(subject, Stoker) else None
        await asyncio.sleep(min(0.5, away / 4))  # the first are made when the trouble is known
        if made:
            await made.make(max(0.0, away - 1.0 - (time.perf_counter() - gone)))
        await asyncio.sleep(max(0.0, gone + away - time.perf_counter()))
        running.thaw() if how == "frozen" else await asyncio.to_thread(running.start)
        back = time.perf_counter()
        log = await made.appended(running, back) if made else None
        await asyncio.sleep(max(0.0, back + options.after - time.perf_counter()))
        traffic.stopping = True
        await task
        await subject.close()
    report = {"away_seconds": round(back - gone, 2), **judge(traffic.calls, gone, back)}
    return {**report, "invalidations": log} if log else report


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.outage", description="What callers notice of a server that freezes or dies"
    )
    options.add_argument("--callers", type=int, default=50, help="in this process (default: %(default)s)")
    options.add_argument("--pause-ms", type=float, default=25.0, help="of a caller between two reads")
    options.add_argument(
        "--load-ms", type=float, default=5.0, help="what a load takes (default: %(default)s)"
    )
    options.add_argument("--before", type=float, default=2.0, help="seconds of traffic before the outage")
    options.add_argument("--away", type=float, default=4.0, help="seconds that the server is away")
    options.add_argument("--after", type=float, default=6.0, help="seconds of traffic after it")
    options.add_argument("--peers-away", type=float, default=15.0, help="the same for other caches")
    options.add_argument("--invalidations", type=int, default=10_000, help="made while the server is away")
    options.add_argument("--how", choices=["frozen", "killed", "both"], default="both")
    options.add_argument("--peers", choices=["on", "off"], default="on")
    options.add_argument("--seed", type=int, default=1, help="of what is left to chance")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    ways: list[How] = ["frozen", "killed"] if options.how == "both" else [options.how]
    runs: dict[str, dict[str, Any]] = {}
    for how in ways:
        tell(f"stoker, {how}")
        runs[how] = {"stoker": asyncio.run(measure(Stoker(), how, options, options.away))}
        for name, peer in PEERS.items() if options.peers == "on" else ():
            if peer.installed() is None:
                runs[how][name] = "not installed"
                continue
            tell(f"{name}, {how}")
            report = asyncio.run(measure(Peer(peer()), how, options, options.peers_away))
            runs[how][name] = {"version": version(peer.distribution), **report}
    print_document(vars(options), {"runs": runs, "slow_is_above_ms": SLOW_SECONDS * 1000})
    return 1 if any(run["stoker"]["invalidations"]["lost"] for run in runs.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
