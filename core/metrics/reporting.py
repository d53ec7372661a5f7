"""Statistics: what a manager's caches did and hold."""

from __future__ import annotations

from collections.abc import Mapping

from stoker.core.errors import LinkError, ReplyError
from stoker.core.metrics.census import ServerCount, count_memory, count_server, count_types
from stoker.core.metrics.stats import CacheStats, low_hit_rate
from stoker.core.namespace import beginning_in
from stoker.core.parts import Parts
from stoker.core.vocabulary import CacheBackend

_NOTHING_COUNTED = ServerCount(0, 0, 0)


class Reporting(Parts):
    """What a `CacheManager` can tell of itself."""

    async def get_stats(self, cache_type: str | None = None, *, namespace: str = "") -> CacheStats:
        """Return what was counted here, and what is kept now.

        Hits, misses, sets and deletes are this process's, since it began or `reset_stats`; a fleet's are in
        Prometheus, which resets nothing. Entries of a server with at most 100,000 keys are counted by a walk;
        else a worker's last count is told.

        Args:
            cache_type: The type; all together where not given.
            namespace: Count only entries of this namespace of the type. (Reads are counted by type.)

        Raises:
            UsageError: There is no such type.
        """
        local = self.local_stats(cache_type, namespace=namespace)
        if local.backend == CacheBackend.MEMORY:
            return local
        try:
            counted, error = await count_server(self, cache_type, beginning_in(namespace)), None
        except (LinkError, ReplyError) as trouble:
            counted, error = _NOTHING_COUNTED, str(trouble)
        found = {
            "cached_keys": counted.entries + self._kept_here_alone(cache_type),
            "total_keys": counted.keys,
            "memory_bytes": counted.bytes,
            "connected": self.link.ready,
            "error": error,
        }
        l2 = None if local.l2 is None else local.l2.model_copy(update=found)
        warnings = [*local.warnings, *([counted.warning] if counted.warning else [])]
        return local.model_copy(update={**found, "l2": l2, "warnings": warnings})

    def _kept_here_alone(self, cache_type: str | None) -> int:
        """Entries in memory of the types that are nowhere else, where all types are asked for."""
        if cache_type is not None:
            return 0
        counts = count_types(self.memory)
        return sum(counts[name] for name, policy in self.config.types.items() if not policy.in_redis)

    def local_stats(self, cache_type: str | None = None, *, namespace: str = "") -> CacheStats:
        """As `get_stats`, from what this process knows, at once: of a server's entries nothing is counted.

        Raises:
            UsageError: There is no such type.
        """
        policies = self.config.types if cache_type is None else {cache_type: self.policy(cache_type)}
        in_memory = any(policy.in_memory for policy in policies.values())
        in_redis = any(policy.in_redis for policy in policies.values())
        counts = {name: self.counters.since_reset(name) for name in policies}
        evicting = in_memory and not in_redis and self.memory.store.evictions > 0
        shown = CacheStats(
            namespace=namespace,
            cache_type=None if cache_type is None else str(cache_type),
            connected=self._alone or self.link.ready,
            backend=CacheBackend.REDIS,
            hits=_sum(counts, "hits"),
            misses=_sum(counts, "misses"),
            sets=_sum(counts, "sets"),
            deletes=_sum(counts, "deletes"),
            warnings=[
                warning
                for name, counted in counts.items()
                for warning in low_hit_rate(name, counted["hits"], counted["misses"], evicting=evicting)
            ],
        )
        if not in_memory:
            return shown
        held = count_memory(self.memory, cache_type, beginning_in(namespace))
        kept = {
            "backend": CacheBackend.MEMORY,
            "cached_keys": held.entries,
            "total_keys": len(self.memory.store),
            "memory_bytes": held.bytes,
            "max_size": self.memory.store.max_entries,
        }
        if not in_redis:
            return shown.model_copy(update=kept)
        return _in_two_tiers(shown, kept, _sum(counts, "memory_hits"))

    async def reset_stats(self, cache_type: str | None = None) -> None:
        """Let statistics count from now on, of a type or of all; metrics of Prometheus go on.

        Raises:
            UsageError: There is no such type.
        """
        if cache_type is not None:
            self.policy(cache_type)
        for name in self.config.types if cache_type is None else (cache_type,):
            self.counters.reset(name)


def _sum(counts: Mapping[str, Mapping[str, int]], name: str) -> int:
    return sum(counted[name] for counted in counts.values())


def _in_two_tiers(shown: CacheStats, kept: Mapping[str, object], memory_hits: int) -> CacheStats:
    """Tell memory's part of the reads from the server's."""
    hits = min(memory_hits, shown.hits)
    l1 = shown.model_copy(
        update={
            **kept,
            "hits": hits,
            "misses": shown.total_requests - hits,
            "connected": True,
            "warnings": [],
        }
    )
    l2 = shown.model_copy(update={"hits": shown.hits - hits, "warnings": []})
    both = {"backend": CacheBackend.MULTI_LAYER, "max_size": kept["max_size"], "l1": l1, "l2": l2}
    return shown.model_copy(update=both)
