"""What a cache manager is made of, and its life: connecting and closing."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from stoker.core.background import end_each, spawn
from stoker.core.counters import Counters, TypeCounters
from stoker.core.entries.memory import MemoryTier
from stoker.core.entries.storage import Storage
from stoker.core.entries.tier import RedisTier
from stoker.core.entries.vouching import Vouching
from stoker.core.errors import ConfigError, UsageError
from stoker.core.link.driver import load_driver
from stoker.core.linking import make_client, make_commits, make_keys, make_link, make_log
from stoker.core.loading.contention import Contention
from stoker.core.loading.lease import Leases
from stoker.core.loading.loads import Loads
from stoker.core.loading.serving import Serving
from stoker.core.log.bell import Bell
from stoker.core.log.fleet_log import InvalidationLog
from stoker.core.log.follower import Follower
from stoker.core.log.local_log import LocalLog
from stoker.core.maintenance.tallies import LocalTallies, RedisTallies, Tallies
from stoker.core.metrics.noting import Noting
from stoker.core.recipe import Recipe
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.given import check_config, from_environment
from stoker.core.settings.policy import Policy
from stoker.core.warming.recording import Recording

if TYPE_CHECKING:
    from stoker.core.metrics.cache_metrics import CacheMetrics

#: Reads that wait to be counted towards the hot keys; when more come, the oldest are not counted.
MAX_ACCESSES = 100_000

#: Numbers the managers of a process, for their marks.
_OWNERS = itertools.count(1)


class Parts:
    """The parts of a `CacheManager`, and their life."""

    def __init__(
        self,
        config: CacheConfig | None = None,
        *,
        process: str | None = None,
        recording: bool = True,
        read_only: bool = False,
        metrics: CacheMetrics | None = None,
    ) -> None:
        check_config(type(self), config, f"{type(self).__name__}(CacheConfig(url=…))")
        if metrics is not None and not hasattr(metrics, "watch"):
            given = type(metrics).__name__
            raise UsageError(f"metrics is a CacheMetrics, not {given}: write CacheMetrics(registry=…)")
        self.config = _for_what_there_is(from_environment() if config is None else config)
        self.read_only = read_only
        self.keys = make_keys(self.config)
        self.process = process or f"{socket.gethostname()}-{os.getpid()}"
        redis = self.config.redis
        if redis.enabled:
            load_driver()
        self.link = make_link(redis, self.keys)
        # Without a server the link is never opened, and the log is this process's own.
        self._alone = not redis.enabled
        self.log = LocalLog() if self._alone else make_log(self.link, redis, self.keys, read_only=read_only)
        self.counters = Counters()
        # Without a server nobody can be told which keys are hot; who only looks tells nothing.
        counted = not read_only and not self._alone
        self.access: deque[tuple[str, str, Recipe | None]] = deque(maxlen=MAX_ACCESSES if counted else 0)
        self._make_storage()
        self._make_loads()
        self._tallies: Tallies = LocalTallies() if self._alone else RedisTallies(self.link, self.keys)
        self._recording = Recording(self) if recording and counted else None
        self._owner = next(_OWNERS)
        self._prepare(metrics)

    def _make_storage(self) -> None:
        """Make what keeps entries."""
        self.tier = RedisTier(self.link, self.log, self.keys)
        commits = make_commits(self.link, self.log, self.keys)
        bounds = self.config.memory
        self.memory = MemoryTier(
            self.log, self.counters, self.access, entries=bounds.entries, max_bytes=bounds.bytes
        )
        vouching = Vouching(self.link, self.log, self.keys, commits)
        self.storage = Storage(
            self.config,
            self.log,
            self.memory,
            self.tier,
            commits,
            vouching,
            self.counters,
            read_only=self.read_only,
        )
        self._in_memory = self.storage.in_memory

    def _make_loads(self) -> None:
        """Make what loads entries."""
        bell = Bell(self.link.open_another, self.config.redis.connect_timeout)
        contention = Contention(Leases(self.link, self.log, self.keys), bell, self.storage, self.log)
        self._loads = Loads(self.config, self.storage, self.log, self.counters, contention)
        self.flights = self._loads.flights
        self.serving = Serving(self.storage, self._loads)

    def _prepare(self, metrics: CacheMetrics | None) -> None:
        """Make what runs or is made only while the manager is connected."""
        bounds_of_age = [policy.memory_bound for policy in self.config.types.values() if policy.in_memory]
        self._follower: Follower | None = None
        if bounds_of_age and isinstance(self.log, InvalidationLog):
            self._follower = Follower(self.log, self.link, self.keys, min(bounds_of_age))
        self._types: dict[str, tuple[Policy, TypeCounters]] = {}
        self._client: Any = None
        self.keeps_alone = set[str]()
        """Types of which a value that a caller vouches for is kept here while the server is away, as if it
        had been loaded; of others it is refused, as nobody else can be told."""
        self.is_open = False
        """Whether it was connected, and not closed since."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.known_sizes: dict[str, int] = {}
        """Entries in the server by type, as last looked up for metrics."""
        self._noting = None if metrics is None else Noting(self, metrics)
        if metrics is not None:
            metrics.watch(self)

    async def connect(self) -> bool:
        """Start; say whether the server answered. If not, it is tried again in the background.

        Raises:
            ConfigError: The server may evict the invalidation log, and `redis.allow_eviction` is not set.
        """
        self.is_open = True
        if not self._alone:
            self._loop = asyncio.get_running_loop()
        reached = True if self._alone else await self._connect()
        if self._noting is not None:
            await self._noting.start()
        return reached

    async def _connect(self) -> bool:
        self.log.kept.open()
        reached = await self.link.connect()
        if not reached:
            self.log.miss()
        if isinstance(self.log, InvalidationLog) and self.log.unfit and not self.read_only:
            await self.close(0)
            raise ConfigError(self.log.unfit)
        if self._follower is not None:
            self._follower.start()
        if self._recording is not None:
            await self._recording.start()
        return reached

    async def close(self, timeout: float = 5.0) -> None:
        """Let loads under way end within `timeout` seconds, hand over what was recorded, disconnect.

        Cancelled, it waits for no load any more, and disconnects all the same.

        Raises:
            UsageError: It was connected on another event loop.
        """
        if self._loop not in {None, asyncio.get_running_loop()}:
            raise UsageError(
                "this cache was connected on another event loop: close it there, before that loop ends"
            )
        self._loop, self.is_open = None, False
        closing = spawn(self._end(timeout), "stoker-close")
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:  # no load is waited for any more, and all the rest is ended
            self.flights.cancel()
            await asyncio.wait([closing])
            raise

    async def _end(self, timeout: float) -> None:
        client, self._client = self._client, None
        beside = [part.stop for part in (self._noting, self._recording, self._follower) if part is not None]
        last = [] if client is None else [client.aclose]
        await end_each(lambda: self._loads.close(timeout), *beside, self.log.close, self.link.close, *last)

    async def __aenter__(self) -> Self:
        await connect_or_close(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def client(self) -> Any:
        """A client of redis-py (`redis.asyncio`) with the same settings, for what the library does not cover.

        It has connections of its own, `redis.max_connections` at most, and is closed with the manager.

        Raises:
            UsageError: There is no server (`redis.enabled` is false).
        """
        if self._alone:
            raise UsageError("there is no client: this cache lives in memory alone (redis.enabled is false)")
        if self._client is None:
            self._client = make_client(self.config.redis)
        return self._client

    def share_marks(self, owner: int | None) -> int:
        """Have the misses of another manager of this cache count here; return whose count now.

        What was computed after a miss there is set here as a load by hand, too: both have one log.
        """
        if owner is not None:
            self._owner = owner
        return self._owner

    def policy(self, cache_type: str) -> Policy:
        """The policy of a cache type.

        Raises:
            UsageError: There is no such type.
        """
        return self.config.policy(cache_type)

    def _type(self, cache_type: str) -> tuple[Policy, TypeCounters]:
        """The policy and the counters of a cache type, kept for the next read of it."""
        found = self._types[cache_type] = self.policy(cache_type), self.counters.of(cache_type)
        return found


async def connect_or_close(manager: Parts) -> bool:
    """Connect; what was begun is ended where that raises or is cancelled: nobody else would."""
    try:
        return await manager.connect()
    except BaseException:  # a cancellation, too
        await manager.close(0)
        raise


def _for_what_there_is(config: CacheConfig) -> CacheConfig:
    """Where there is no server, all types are kept in memory."""
    if config.redis.enabled:
        return config
    types = {name: policy.model_copy(update={"tiers": ("memory",)}) for name, policy in config.types.items()}
    return config.model_copy(update={"types": types})
