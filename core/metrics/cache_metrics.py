"""`CacheMetrics`: what all caches of this process did, in a registry of Prometheus."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry

from stoker.core.clock import boottime
from stoker.core.counters import Counters, TypeCounters
from stoker.core.errors import UsageError
from stoker.core.metrics.census import count_types
from stoker.core.metrics.collectors import by_type, of_links, of_memories
from stoker.core.parts import Parts
from stoker.core.warming.rates import HEADLINE_WINDOW

#: Hits and misses are noted at most once in so many seconds.
SAMPLE_SECONDS = 1.0


class CacheMetrics(Collector):
    """The metrics of the managers that it is given to: `CacheManager(config, metrics=metrics)`.

    Managers with one `CacheMetrics` add up; what a manager counted stays when it is closed. All of it is read
    when it is scraped, but the sizes of types in Redis: these are looked up every 15 seconds.

    ```python
    registry = CollectorRegistry()
    cache = CacheManager(CacheConfig(), metrics=CacheMetrics(registry=registry))
    ```

    Args:
        registry: Where the metrics appear; the one of `prometheus_client` where not given.

    Raises:
        UsageError: The registry has such metrics already.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._lock = threading.Lock()  # scrapes come from other threads
        self._watched: list[tuple[weakref.ref[Parts], Counters]] = []
        self._past: dict[str, TypeCounters] = {}
        self._window = Window()
        try:
            (REGISTRY if registry is None else registry).register(self)
        except ValueError as error:
            raise UsageError(
                f"the registry has cache metrics already: give one CacheMetrics to all managers ({error})"
            ) from None

    def watch(self, manager: Parts) -> None:
        """Show what a manager counts from now on; `CacheManager(metrics=…)` calls it."""
        with self._lock:
            self._take_in()
            self._watched.append((weakref.ref(manager), manager.counters))

    def _take_in(self) -> list[Parts]:
        """Keep the sums of the managers that are no more, and return the others.

        Nothing waits to be told that one is gone: that may happen in the midst of anything, also in a thread
        that holds the lock.
        """
        managers: list[Parts] = []
        watched: list[tuple[weakref.ref[Parts], Counters]] = []
        for reference, counters in self._watched:
            manager = reference()
            if manager is None:
                _add(self._past, counters)
            else:
                managers.append(manager)
                watched.append((reference, counters))
        self._watched = watched
        return managers

    def note(self) -> None:
        """Note hits and misses as they stand, for the rate of the next minutes."""
        self._window.note(self._look()[0])

    def _look(self) -> tuple[dict[str, TypeCounters], list[Parts]]:
        """The counters of all managers, added up, and those that there are."""
        found: dict[str, TypeCounters] = {}
        with self._lock:
            managers = self._take_in()
            for name, past in self._past.items():
                found.setdefault(name, TypeCounters()).add(past)
            for _, counters in self._watched:
                _add(found, counters)
        return found, managers

    def describe(self) -> Iterator[Metric]:
        """The names alone, so that a registry refuses them twice."""
        return self._families({}, [])

    def collect(self) -> Iterator[Metric]:
        """Yield the families as they stand now."""
        return self._families(*self._look())

    def _families(self, types: dict[str, TypeCounters], managers: list[Parts]) -> Iterator[Metric]:
        yield from by_type(types)
        yield self._window.rates(types)
        yield _sizes(managers)
        yield from of_links([manager for manager in managers if manager.is_open])
        yield from of_memories(managers)


class Window:
    """Hits and misses as they stood during the last five minutes."""

    def __init__(self, seconds: float = HEADLINE_WINDOW, clock: Callable[[], float] = boottime) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._notes: deque[tuple[float, dict[str, tuple[int, int]]]] = deque([(clock(), {})])

    def note(self, types: Mapping[str, TypeCounters]) -> None:
        """Note how they stand; of what is older than the window the newest note is kept."""
        self._oldest(types)

    def _oldest(self, types: Mapping[str, TypeCounters]) -> dict[str, tuple[int, int]]:
        now, notes = self._clock(), self._notes
        with self._lock:
            if now - notes[-1][0] >= SAMPLE_SECONDS:
                notes.append((now, {name: (found.hits, found.misses) for name, found in types.items()}))
            while len(notes) > 1 and notes[1][0] <= now - self._seconds:
                notes.popleft()
            return notes[0][1]

    def rates(self, types: Mapping[str, TypeCounters]) -> Metric:
        """The share of hits since the window began; a type without reads since then has no sample."""
        before = self._oldest(types)
        family = GaugeMetricFamily(
            "cache_hit_rate", "Share of hits over five minutes, 0 to 1", labels=("cache_type",)
        )
        for name, found in types.items():
            hits, misses = before.get(name, (0, 0))
            hits, misses = found.hits - hits, found.misses - misses
            if hits + misses:
                family.add_metric((name,), hits / (hits + misses))
        return family


def _add(sums: dict[str, TypeCounters], counters: Counters) -> None:
    for name, found in list(counters.types.items()):
        sums.setdefault(name, TypeCounters()).add(found)


def _sizes(managers: list[Parts]) -> Metric:
    """Entries by type: those in one server once, however many managers ask it; those in memory of each."""
    stored: dict[tuple[str, str, str], int] = {}
    for at, manager in enumerate(managers):
        here: Counter[str] | None = None  # counted where a type is in memory alone
        for name, policy in manager.config.types.items():
            if not policy.in_redis:
                here = count_types(manager.memory) if here is None else here
                stored[str(at), "", name] = here[name]
            elif name in manager.known_sizes:
                place = manager.link.url, manager.keys.prefix, name
                stored[place] = max(stored.get(place, 0), manager.known_sizes[name])
    sums: dict[str, int] = {}
    for (*_, name), count in stored.items():
        sums[name] = sums.get(name, 0) + count
    family = GaugeMetricFamily("cache_size_keys", "Entries stored, as last counted", labels=("cache_type",))
    for name, count in sums.items():
        family.add_metric((name,), count)
    return family
