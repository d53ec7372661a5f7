"""Time buckets of access counts, and the rates that decayed counts come to.

A request counts `0.5 ** (age / half_life)`. The fleet's counts stand in buckets of some seconds, so all
requests of one bucket are as old as its middle.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from stoker.core.settings.policy import Policy

#: The narrowest and the widest bucket, in seconds.
NARROWEST_SECONDS = 5
WIDEST_SECONDS = 3600

#: Buckets reach back so many half-lives (what is older counts for less than an eighth) …
HALF_LIVES = 3

#: … but are never more than these.
MOST_BUCKETS = 24


@dataclass(frozen=True, slots=True)
class Buckets:
    """How the access counts of one cache type are cut in time."""

    width: int
    """Seconds in a bucket; a bucket's name is the unix time at which it starts."""
    half_life: float
    """Age in seconds at which a request counts half."""
    count: int
    """Buckets that a ranking reads, the current one included."""

    @classmethod
    def of(cls, policy: Policy) -> Buckets:
        """The buckets of a type: four to a half-life, within the bounds of this module."""
        half_life = policy.warm.half_life or policy.ttl
        width = min(max(round(half_life / 4), NARROWEST_SECONDS), WIDEST_SECONDS)
        count = math.ceil(HALF_LIVES * half_life / width) + 1
        return cls(width, half_life, min(count, MOST_BUCKETS))

    @property
    def kept(self) -> int:
        """TTL of a bucket in seconds: it outlives the last ranking that reads it."""
        return self.width * (self.count + 1)

    def start(self, at: float) -> int:
        """The bucket of a unix time."""
        return int(at // self.width) * self.width

    def starts(self, at: float) -> list[int]:
        """The buckets that a ranking reads at a unix time, newest first."""
        newest = self.start(at)
        return [newest - number * self.width for number in range(self.count)]

    def span(self, start: int, at: float) -> float:
        """Seconds of a bucket that had passed at a unix time."""
        return min(max(at - start, 0.0), float(self.width))

    def weight(self, start: int, at: float) -> float:
        """What one request of a bucket counts at a unix time: 1 for now, 0.5 a half-life ago."""
        middle = start + self.span(start, at) / 2
        return float(0.5 ** (max(at - middle, 0.0) / self.half_life))


@dataclass(frozen=True, slots=True)
class Heat:
    """How hot a key is."""

    key: str
    rate: float
    """Requests per second, over the time observed."""
    requests: float
    """The decayed requests that the rate rests on."""

    def expected(self, ttl: float, half_life: float) -> float:
        """Return λT, the requests expected within one TTL, for planning.

        Until a half-life has been observed the rate counts as if it had: one early request promises no more.
        """
        return ttl * min(self.rate, self.requests / half_life)


def decayed_rates(
    buckets: Buckets, counts: Mapping[int, Mapping[str, float]], at: float, limit: int
) -> list[Heat]:
    """Return the `limit` hottest keys, hottest first.

    The time observed reaches from the oldest bucket that holds anything until now, weighted as its
    requests are: a steady key's rate is exact from the first full bucket on.

    Args:
        buckets: How time is cut.
        counts: For each bucket's start, requests by key.
        at: Unix time of the ranking.
        limit: Keys to return; equals in the order of their names.
    """
    filled = [start for start, found in counts.items() if found]
    if not filled:
        return []
    oldest = min(filled)
    observed = sum(
        buckets.weight(start, at) * buckets.span(start, at) for start in buckets.starts(at) if start >= oldest
    )
    observed = max(observed, float(buckets.width))
    total: defaultdict[str, float] = defaultdict(float)
    for start in filled:
        weight = buckets.weight(start, at)
        for key, count in counts[start].items():
            total[key] += count * weight
    best = heapq.nsmallest(limit, ((-requests, key) for key, requests in total.items()))
    return [Heat(key, -requests / observed, -requests) for requests, key in best]
