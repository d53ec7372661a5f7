"""`AIResponseCache`: what operations make of texts, by text, operation and options."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast

from stoker.core.aliases import ResultAliases
from stoker.core.errors import UsageError
from stoker.core.keys import MAX_KEY_LENGTH, check_text
from stoker.core.loading.loaders import Loader
from stoker.core.loading.loads import Load
from stoker.core.log.fleet_log import Receipt
from stoker.core.log.scopes import Tag
from stoker.core.performance import CachePerformanceMonitor, PerformanceSummary
from stoker.core.responses.monitored import MonitoredCache
from stoker.core.responses.stored import place_of
from stoker.core.responses.text_keys import HASH_THRESHOLD, check_operation, text_key
from stoker.core.settings.config import CacheConfig
from stoker.core.settings.policy import check_ttl

R = TypeVar("R")

#: Seconds for which the results of operations are fresh; of others, as long as the type says.
OPERATION_TTLS: Mapping[str, float] = {
    "summarize": 7200,
    "sentiment": 86400,
    "key_points": 7200,
    "questions": 3600,
    "qa": 1800,
}

#: Names of texts by size: up to so many characters each. Longer ones are `xlarge`.
TEXT_SIZE_TIERS: Mapping[str, int] = {"small": 500, "medium": 5000, "large": 50_000}

#: What the arguments that stand for settings are where neither they nor a configuration is given.
_USUAL: Mapping[str, int] = {"compression_threshold": 1000, "compression_level": 6, "memory_cache_size": 100}

#: What the arguments are called that stand for a configuration's settings where none is given.
_SETTING_NAMES: Mapping[str, str] = {
    "compress_above": "compression_threshold",
    "compression_level": "compression_level",
    "memory_entries": "memory_cache_size",
}


class AIResponseCache(ResultAliases, MonitoredCache):
    """What operations make of texts: in Redis, with this process's memory in front.

    ```python
    async with AIResponseCache(redis_url="redis://cache:6379/0") as cache:
        await cache.cache_response(text, "summarize", {"max_length": 100}, summary)
    ```

    While the server is away, what this process stores is kept in its memory alone, for a day at most, and
    nobody else hears of it (a write during which it goes away may answer False, and is not kept); once the
    server is back, it is gone, and what that has counts. What this process invalidates meanwhile is not kept
    again before the server is back.
    By key it is a cache like any other: `get`, `set`, `delete` and all that `CacheInterface` has.

    Args:
        redis_url: The server; as the configuration or the default says where not given.
        config: A configuration, in place of the arguments that say the same: `redis_url`, `default_ttl`,
            `compression_threshold`, `compression_level`, `memory_cache_size`.
        default_ttl: Seconds that results are fresh, 3600 where not given; see `operation_ttls`.
        text_hash_threshold: Texts with more characters are hashed in keys; 0 hashes all, as prompts may
            be no one's business.
        compression_threshold: Bytes above which a result is compressed, 1000 where not given,
        compression_level: and how hard, 6 where not given.
        memory_cache_size: Results that memory holds, 100 where not given.
        text_size_tiers: Names of texts by size, for the figures.
        operation_ttls: Seconds by operation, over `OPERATION_TTLS`.
        performance_monitor: Keeps the figures; one of its own where not given.
        namespace: What keys begin with.
        cache_type: The type of its entries.

    Raises:
        UsageError: An argument can't be used.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        config: CacheConfig | None = None,
        default_ttl: float | None = None,
        text_hash_threshold: int = HASH_THRESHOLD,
        compression_threshold: int | None = None,
        compression_level: int | None = None,
        memory_cache_size: int | None = None,
        text_size_tiers: Mapping[str, int] | None = None,
        operation_ttls: Mapping[str, float] | None = None,
        performance_monitor: CachePerformanceMonitor | None = None,
        namespace: str | None = None,
        cache_type: str = "ai_response",
    ) -> None:
        given: dict[str, Any] = {
            "redis_url": redis_url,
            "default_ttl": default_ttl,
            "compression_threshold": compression_threshold,
            "compression_level": compression_level,
            "memory_cache_size": memory_cache_size,
            "namespace": namespace,
        }
        arguments: Any = {name: value for name, value in given.items() if value is not None}
        if config is None:
            arguments = {**_USUAL, **arguments}
        super().__init__(config, cache_type=cache_type, performance_monitor=performance_monitor, **arguments)
        self.text_hash_threshold = _checked_threshold(text_hash_threshold)
        self.operation_ttls = dict(OPERATION_TTLS)
        for operation, seconds in (operation_ttls or {}).items():
            self.operation_ttls[check_operation(operation)] = check_ttl(seconds)
        self._tiers = sorted(
            _checked_tiers(text_size_tiers or TEXT_SIZE_TIERS).items(), key=lambda tier: tier[1]
        )
        self._room = MAX_KEY_LENGTH - len(self.key(""))
        # What goes over the type's own settings is what there is to change.
        names = {"ttl": "operation_ttls", **(_SETTING_NAMES if config is None else {})}
        self.performance_monitor.name_settings(names)

    # -- results of operations --------------------------------------------------------------------

    def text_tier(self, text: str) -> str:
        """Return how a text of its size is called: `small`, `medium`, `large`, `xlarge`."""
        return next((name for name, limit in self._tiers if len(text) <= limit), "xlarge")

    def text_key(self, text: str, operation: str, options: Any = None, question: str | None = None) -> str:
        """Return the key of what an operation makes of a text; see `stoker.core.responses.text_keys`.

        Raises:
            UsageError: An argument can't be part of a key.
        """
        began = time.perf_counter()
        key = text_key(
            text, operation, options, question, threshold=self.text_hash_threshold, room=self._room
        )
        seconds = time.perf_counter() - began
        self.performance_monitor.record_key_generation(seconds, len(text), self.text_tier(text))
        return key

    # No `async def`, these: a miss leaves its mark where it is called; see `marks`.
    def get_cached_response(
        self,
        text: str,
        operation: str,
        options: Any = None,
        question: str | None = None,
        *,
        into: Any = Any,
    ) -> Coroutine[Any, Any, Any]:
        """Return what an operation made of a text, as `into`; None where that is not there.

        Raises:
            UsageError: An argument can't be part of a key.
        """
        key = self.text_key(text, operation, options, question)
        return self._read(key, None, into, length=len(text))

    def cache_response(
        self, text: str, operation: str, options: Any, response: Any, question: str | None = None
    ) -> Coroutine[Any, Any, bool]:
        """Store what an operation made of a text; say whether it was stored.

        Raises:
            UsageError: An argument can't be part of a key, or the response is None.
        """
        if response is None:
            raise UsageError("response is None: there is nothing to store")
        key = self.text_key(text, operation, options, question)
        ttl, tags = self.operation_ttls.get(operation), [self._tag(operation)]
        return self._store(key, response, ttl, tags, length=len(text))

    async def get_or_generate(
        self,
        text: str,
        operation: str,
        options: Any,
        generate: Callable[[], Awaitable[R]],
        question: str | None = None,
    ) -> R:
        """Return what an operation makes of a text; where that is not there make it, once for all who ask.

        Raises:
            UsageError: An argument can't be part of a key.
            Exception: Whatever `generate` raises.
        """
        key = self.text_key(text, operation, options, question)
        tags = [self._tag(operation)]
        spec = Loader(
            operation, generate, self.cache_type, lambda _: tags, self.operation_ttls.get(operation)
        )
        needed = Load(self.cache_type, self.key(key), generate, (), {}, spec)
        manager = self.manager
        manager.access.append((self.cache_type, needed.key, None))
        policy, counters = manager.policy(self.cache_type), manager.counters.of(self.cache_type)
        reading = await self._watched(manager.serving.read(needed, policy, counters), length=len(text))
        return cast("R", reading.value)

    # -- invalidation -----------------------------------------------------------------------------

    async def invalidate_by_operation(self, operation: str, operation_context: str = "") -> Receipt:
        """Invalidate all that an operation made, with one command whatever its number.

        Args:
            operation: The operation.
            operation_context: Why, for the log's record and the figures.

        Raises:
            UsageError: That is no operation's name.
        """
        began, tag = time.perf_counter(), Tag(self._tag(check_operation(operation)))
        receipt = await self.manager.invalidate(tag, reason=operation_context or None)
        self._record_invalidation(operation, 0, began, "operation", operation_context)
        return receipt

    async def invalidate_pattern(
        self, pattern: str, *, reason: str | None = None, operation_context: str = ""
    ) -> int:
        """Invalidate what has a text in its key that matches a glob; say how many entries were unlinked.

        Keys begin with their operation: `sentiment` matches all that `invalidate_by_operation` does, and
        whatever else has the word in it. Texts that are hashed have none in their keys.

        Args:
            pattern: The text, or a glob: `*`, `?`, `[a-z]`.
            reason: Why, for the log's record,
            operation_context: and the same by its older name; the figures have it, too.

        Raises:
            UsageError: The pattern can't be used, or is empty: it would match all.
        """
        check_text("a pattern", pattern)
        if not pattern:
            raise UsageError("the pattern is empty, and so would match all: say clear() if that is meant")
        return await super().invalidate_pattern(f"*{pattern}*", reason=reason or operation_context or None)

    def _tag(self, operation: str) -> str:
        return f"{place_of(self.cache_type, self.namespace)}:operation:{operation}"

    # -- figures ----------------------------------------------------------------------------------

    def get_cache_hit_ratio(self) -> float:
        """Return the share of reads that were hits, 0 to 1, since the monitor began."""
        return self.performance_monitor.hit_ratio

    def get_performance_summary(self) -> PerformanceSummary:
        """Return times, memory, compression and invalidations, what is wrong, and what to change."""
        return self.performance_monitor.get_performance_summary()


def _checked_threshold(threshold: int) -> int:
    number = isinstance(threshold, int) and not isinstance(threshold, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not number or threshold < 0:
        raise UsageError(f"text_hash_threshold is a number from 0, not {threshold!r:.80}")
    return threshold


def _checked_tiers(tiers: Mapping[str, int]) -> Mapping[str, int]:
    for name, limit in tiers.items():
        if isinstance(limit, bool) or not isinstance(limit, int) or limit <= 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"text_size_tiers: {name!r} is a number of characters above 0, not {limit!r}")
    return tiers
