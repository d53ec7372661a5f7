"""What the caches of this process did: plain integers, read by a collector when it is scraped."""

from __future__ import annotations

from bisect import bisect_left

#: Upper bounds of the duration buckets, in seconds; a memory hit takes a microsecond.
DURATION_BOUNDS = (
    0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

#: One operation in so many is timed.
SAMPLE_EVERY = 16

COUNTERS = (
    "hits",
    "misses",
    "memory_hits",
    "stale_hits",
    "negative_hits",
    "dead",
    "undecodable",
    "unreadable_unlinked",
    "unreachable",
    "sets",
    "sets_refused",
    "unstorable",
    "deletes",
    "loads",
    "loads_joined",
    "load_failures",
    "warm_loads",
    "early_refreshes",
    "fail_safe_serves",
    "soft_timeouts",
    "throttled",
    "not_modified",
    "leases_won",
    "leases_waited",
    "leases_taken_over",
)
"""`hits` and `misses` count what the caller saw, once; hits in memory, stale and negative hits are hits too.
`dead`: misses on an entry that was invalidated; `unreachable`: misses because the server was; `undecodable`:
stored bytes that are no entry, or whose value can't be made; `unreadable_unlinked`: those of them that nobody
could read, and that were unlinked; `loads`: calls of a loader; `warm_loads`: those of them that warming made;
`sets_refused`: commits that an invalidation had overtaken; `early_refreshes`: loads that began behind a
fresh answer; `fail_safe_serves`: reads answered with an old entry because there was no new one;
`soft_timeouts`: those of them whose load took too long; `throttled`: loads that were not tried again so soon
after one that failed; `not_modified`: loads that kept what was stored; `leases_won`, `leases_waited`,
`leases_taken_over`: loads that got the fleet's right to load their key, that waited for another process's
load, and that would not wait for one which an invalidation had overtaken."""


class Durations:
    """A histogram of sampled durations, in seconds."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(DURATION_BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.total += seconds

    def add(self, other: Durations) -> None:
        """Add what another one has counted."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.total += other.total


class TypeCounters:
    """The integers of one cache type; see `COUNTERS` for what each means."""

    __slots__ = (*COUNTERS, "durations")

    hits: int
    misses: int
    memory_hits: int
    stale_hits: int
    negative_hits: int
    dead: int
    undecodable: int
    unreadable_unlinked: int
    unreachable: int
    sets: int
    sets_refused: int
    unstorable: int
    deletes: int
    loads: int
    loads_joined: int
    load_failures: int
    warm_loads: int
    early_refreshes: int
    fail_safe_serves: int
    soft_timeouts: int
    throttled: int
    not_modified: int
    leases_won: int
    leases_waited: int
    leases_taken_over: int
    durations: dict[str, Durations]

    def __init__(self) -> None:
        for name in COUNTERS:
            setattr(self, name, 0)
        self.durations = {name: Durations() for name in ("get", "set", "load")}

    def add(self, other: TypeCounters) -> None:
        """Add what another one has counted."""
        for name in COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, durations in other.durations.items():
            self.durations[name].add(durations)

    def as_dict(self) -> dict[str, int]:
        """The integers by name."""
        return {name: getattr(self, name) for name in COUNTERS}


class Counters:
    """The counters of all types of one process."""

    def __init__(self) -> None:
        self.types: dict[str, TypeCounters] = {}
        self._reset: dict[str, dict[str, int]] = {}

    def of(self, cache_type: str) -> TypeCounters:
        """The counters of a type; they start at zero."""
        found = self.types.get(cache_type)
        if found is None:
            found = self.types[cache_type] = TypeCounters()
        return found

    def snapshot(self) -> dict[str, dict[str, int]]:
        """All integers, by type and name."""
        return {name: counters.as_dict() for name, counters in self.types.items()}

    def reset(self, cache_type: str) -> None:
        """Let `since_reset` count from now on; the counters themselves never run backwards."""
        self._reset[cache_type] = self.of(cache_type).as_dict()

    def since_reset(self, cache_type: str) -> dict[str, int]:
        """The integers of a type since it was last reset."""
        before = self._reset.get(cache_type, {})
        return {name: count - before.get(name, 0) for name, count in self.of(cache_type).as_dict().items()}
