"""Loading a key, once for all who wait, and storing what comes of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stoker.core.config import CacheConfig
from stoker.core.counters import Counters
from stoker.core.entry import encode_tags
from stoker.core.flights import Flights, Loaded
from stoker.core.loaders import Loader
from stoker.core.log import InvalidationLog
from stoker.core.position import START, format_position
from stoker.core.storage import Storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Load:
    """A load that somebody needs."""

    cache_type: str
    key: str
    function: Callable[..., Awaitable[Any]]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    spec: Loader | None
    """Where the function is a registered loader."""
    killer: int = START
    """Position of the record that made it needful."""
    warms: bool = False
    """Nobody asked for the value: it is loaded so that nobody has to wait."""


class Loads:
    """Runs loads, once per key for all who wait, and stores their results."""

    def __init__(
        self, config: CacheConfig, storage: Storage, log: InvalidationLog, counters: Counters
    ) -> None:
        self._config = config
        self._storage = storage
        self._log = log
        self._counters = counters
        self._flights = Flights(log)
        self._untaggable: set[str] = set()

    async def run(self, load: Load) -> Loaded:
        """Load, or join a load under way that may serve this caller.

        Raises:
            Exception: Whatever the loader raises.
        """
        counters = self._counters.of(load.cache_type)

        def joined() -> None:
            counters.loads_joined += 1

        return await self._flights.load(
            load.cache_type, load.key, lambda epoch, born: self._carry_out(load, epoch, born), joined
        )

    def run_behind(self, load: Load) -> None:
        """Start a load that nobody waits for, unless one is under way."""
        self._flights.start_behind(
            load.cache_type, load.key, lambda epoch, born: self._carry_out(load, epoch, born)
        )

    async def close(self, timeout: float) -> None:
        """Let loads under way end within `timeout` seconds; cancel those that don't."""
        await self._flights.close(timeout)

    async def _carry_out(self, load: Load, epoch: int, born: int) -> Loaded:
        counters, spec = self._counters.of(load.cache_type), load.spec
        counters.loads += 1
        counters.warm_loads += load.warms
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._config.types[load.cache_type].load_timeout):
                value = await load.function(*load.args, **load.kwargs)
        except Exception:
            counters.load_failures += 1
            raise
        seconds = time.perf_counter() - began
        counters.durations["load"].observe(seconds)
        ttl = spec.ttl if spec else None
        tags = self._tags_of(load, value)
        stored = tags is not None and await self._storage.store(
            load.cache_type, load.key, value, tags, epoch, born, ttl=ttl
        )
        if load.killer:
            self._tell_reload(load, seconds)
        return Loaded(value, tags, stored, seconds)

    def _tags_of(self, load: Load, value: Any) -> tuple[bytes, ...] | None:
        """The value's tags; None when its loader can't tell them: the value is returned, and not stored."""
        spec = load.spec
        if spec is None or spec.tags is None or value is None:
            return ()
        try:
            return encode_tags(spec.tags(value))
        except Exception as error:  # noqa: BLE001  somebody else's function; the value itself is good
            self._counters.of(load.cache_type).unstorable += 1
            if spec.name not in self._untaggable:
                self._untaggable.add(spec.name)
                logger.warning(
                    "action=untaggable cache_type=%s loader=%s reason=%s: %s",
                    load.cache_type,
                    spec.name,
                    type(error).__name__,
                    error,
                    extra={"action": "untaggable", "loader": spec.name},
                )
            return None

    def _tell_reload(self, load: Load, seconds: float) -> None:
        """The last step of the way from an event over its invalidation to the load that it made needful."""
        record, trace = format_position(load.killer), self._log.trace_of(load.killer)
        logger.info(
            "action=reloaded cache_type=%s record=%s trace=%s",
            load.cache_type,
            record,
            trace,
            extra={
                "action": "reloaded",
                "cache_type": load.cache_type,
                "record": record,
                "trace": trace,
                "seconds": round(seconds, 6),
            },
        )
