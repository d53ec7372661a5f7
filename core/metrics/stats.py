"""`CacheStats`: what a cache did and holds, as one model for all kinds of caches."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field

#: Below this share of hits a cache is warned of.
LOW_HIT_RATE = 0.5

#: Fewer requests than this say nothing about a hit rate.
ENOUGH_REQUESTS = 100

_UNITS = ("B", "K", "M", "G", "T", "P")


class CacheStats(BaseModel):
    """What a cache did since it was made, or since `reset_stats`, and what it holds now.

    Its fields can be asked for as in a dict, too: `stats["hit_rate"]`, `stats.get("hit_rate", 0.0)`; and
    `"error" in stats` says whether there is one. `dict(stats)` is a dict of all that there is. Rates are
    fractions; `hit_rate_percent` is in percent.

    >>> stats = CacheStats(hits=3, misses=1)
    >>> stats.hit_rate, stats["hit_rate_percent"], "error" in stats
    (0.75, 75.0, False)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    namespace: str = ""
    """The namespace whose keys are counted; empty for all of the type."""
    cache_type: str | None = None
    """The type; None for all types of a manager together."""
    backend: str = ""
    """Where entries are kept: `memory`, `redis` or `multi_layer`."""
    connected: bool = False
    """Whether the server answers; always where there is none to ask."""
    hits: int = 0
    """Reads that were answered from the cache, as callers saw them."""
    misses: int = 0
    """Reads that were not."""
    sets: int = 0
    """Entries that were stored, by loads and by `set`."""
    deletes: int = 0
    """Keys that were deleted."""
    cached_keys: int = 0
    """Entries that are kept. What was invalidated by tag or type, and not swept yet, is among them."""
    total_keys: int = 0
    """All keys of the server, whoever wrote them; of memory alone, its entries of all types."""
    memory_bytes: int = 0
    """What the server uses, for everything; of memory alone, what its entries take."""
    max_size: int | None = None
    """The most entries that memory holds; None where nothing is kept there."""
    l1: CacheStats | None = None
    """The memory tier's part, where there are two tiers."""
    l2: CacheStats | None = None
    """The server's part, where there are two tiers: the reads that memory did not answer."""
    error: str | None = None
    """Why the server could not be asked, if so. What this process counted is there all the same."""
    warnings: list[str] = Field(default_factory=list)
    """What should be changed, each with the setting to change."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total_requests(self) -> int:
        """Reads that were counted: hits and misses."""
        return self.hits + self.misses

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hit_rate(self) -> float:
        """Share of hits, 0 to 1; 0.0 without reads."""
        return self.hits / (self.total_requests or 1)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hit_rate_percent(self) -> float:
        """The hit rate in percent."""
        return self.hit_rate * 100.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cached_responses(self) -> int:
        """`cached_keys`, as caches of responses call it."""
        return self.cached_keys

    @computed_field  # type: ignore[prop-decorator]
    @property
    def memory_human(self) -> str:
        """`memory_bytes` as Redis writes it: `1.50M`."""
        return human_bytes(self.memory_bytes)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def utilization_percent(self) -> float:
        """How much of `max_size` is taken, in percent; 0.0 where nothing is kept in memory."""
        if self.l1 is not None:
            return self.l1.utilization_percent
        return 100.0 * self.cached_keys / self.max_size if self.max_size else 0.0

    def __getitem__(self, name: str) -> Any:
        if name not in _FIELD_NAMES:
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in _FIELD_NAMES and getattr(self, name) is not None

    def keys(self) -> list[str]:
        """Return the names of the fields in which there is something, computed ones too."""
        return [name for name in _FIELD_NAMES if name in self]

    def values(self) -> list[Any]:
        """Return what is in these fields."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """Return these fields with what is in them."""
        return [(name, self[name]) for name in self.keys()]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field by name; `default` where there is no such field, or nothing in it."""
        return getattr(self, name) if name in self else default


_FIELD_NAMES = dict.fromkeys((*CacheStats.model_fields, *CacheStats.model_computed_fields))


def human_bytes(size: int) -> str:
    """Write a number of bytes as Redis does.

    >>> human_bytes(1_572_864), human_bytes(512)
    ('1.50M', '512B')
    """
    left, unit = float(size), 0
    while left >= 1024 and unit < len(_UNITS) - 1:
        left, unit = left / 1024, unit + 1
    return f"{left:.2f}{_UNITS[unit]}" if unit else f"{size}B"


def low_hit_rate(cache_type: str, hits: int, misses: int, *, evicting: bool = False) -> list[str]:
    """Return a warning where too few of enough reads are hits, with the setting to change."""
    requests = hits + misses
    if requests < ENOUGH_REQUESTS or hits / requests >= LOW_HIT_RATE:
        return []
    change = "memory.entries or memory.bytes: entries make room" if evicting else f"types.{cache_type}.ttl"
    if not evicting:
        change += ", or have it warmed (types." + cache_type + ".warm)"
    return [f"{cache_type}: {hits / requests:.0%} of {requests} reads were hits: raise {change}"]
