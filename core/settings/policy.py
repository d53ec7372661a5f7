"""What holds for all entries of one cache type."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from stoker.core.errors import UsageError

Tier = Literal["memory", "redis"]

#: The highest level of each method of compression.
COMPRESSION_LEVELS = {"zstd": 22, "zlib": 9, "none": 0}

#: How long memory serves on its own while the server is away, where a type doesn't say.
OUTAGE_SECONDS = 60.0

#: No length of time is longer: ten years.
MAX_SECONDS = 10 * 365 * 86400

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")


def parse_seconds(value: Any) -> Any:
    """Read `"90s"`, `"5m"`, `"2h"`, `"1d"`, `"250ms"`, `"2h 30m"` or a bare number as seconds.

    What is no such text is returned as it is, for pydantic to judge.
    """
    if isinstance(value, bool):
        raise ValueError("a duration is a number of seconds or like 30s, not true or false")  # noqa: TRY004
    if not isinstance(value, str):
        return value
    text = value.strip()
    parts = list(_DURATION.finditer(text))
    rest = _DURATION.sub("", text).strip()
    if not parts or rest or (len(parts) > 1 and any(not part[2] for part in parts)):
        raise ValueError("a duration is a number of seconds or like 250ms, 30s, 5m, 2h, 1d, 2h 30m")
    return sum(float(part[1]) * _UNITS[part[2] or "s"] for part in parts)


Seconds = Annotated[
    float,
    BeforeValidator(parse_seconds, json_schema_input_type=float | str),
    Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False),
]
"""A length of time: a number of seconds, or a text such as `30s`."""

PositiveSeconds = Annotated[Seconds, Field(gt=0)]


def check_ttl(ttl: Any) -> float:
    """Return a TTL in seconds.

    Raises:
        UsageError: It is no number, not above 0, or longer than ten years.
    """
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= MAX_SECONDS:
        raise UsageError(f"a TTL is a positive number of seconds, ten years at most, not {ttl!r}")
    return ttl


_BYTE_UNITS = {"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_BYTES = re.compile(r"(\d+)\s*([a-z]*)")


def parse_bytes(value: Any) -> Any:
    """Read `"16MiB"`, `"512 KiB"` or a bare number as bytes."""
    if not isinstance(value, str):
        return value
    match = _BYTES.fullmatch(value.strip().lower())
    if not match or match[2] not in _BYTE_UNITS:
        raise ValueError("a size is a number of bytes or like 512KiB, 16MiB")
    return int(match[1]) * _BYTE_UNITS[match[2]]


Bytes = Annotated[int, BeforeValidator(parse_bytes, json_schema_input_type=int | str), Field(ge=0, le=2**29)]
"""A size: a number of bytes, or a text such as `16MiB` (Redis holds no string above 512 MiB)."""

MemoryBytes = Annotated[
    int, BeforeValidator(parse_bytes, json_schema_input_type=int | str), Field(ge=2**16, le=2**42)
]
"""A size of memory: a number of bytes, or a text such as `2GiB`."""


class Model(BaseModel):
    """A part of the configuration: nothing unknown, nothing changed after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class WarmPolicy(Model):
    """How a type's hot keys are kept warm."""

    mode: Literal["reload", "none"] = "reload"
    """`reload` calls the loader before the entry expires; `none` leaves the type alone."""
    keys: int = Field(default=1000, ge=1, le=4000)
    """At most so many of the hottest keys are kept warm."""
    ahead: Annotated[float, Field(gt=0, le=1)] = 0.25
    """An entry is loaded again once less than this share of its TTL is left."""
    min_requests: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Keys with fewer expected requests within one TTL are left to expire (λT in docs/warming.md)."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Loads of one run that are under way at once."""
    loads_per_second: float = Field(default=200.0, gt=0, allow_inf_nan=False)
    """Budget: loads that warming may ask of the source each second."""
    half_life: PositiveSeconds | None = None
    """Age at which a request counts half in the ranking; a type's TTL where not given."""


class Policy(Model):
    """What holds for all entries of one cache type."""

    ttl: PositiveSeconds = 3600.0
    """An entry is fresh for so long."""
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Spread of the TTL as a share of it, so that what was filled together doesn't expire together."""
    stale: Seconds = 0.0
    """After its TTL an entry may be served so much longer, while it is loaded again."""
    negative_ttl: PositiveSeconds | None = None
    """TTL of a loaded `None` ("there is no such thing"); the type's TTL where not given."""
    kind: Literal["derived", "authoritative"] = "derived"
    """`derived`: a loader can make it again. `authoritative`: the cache is the source (sessions)."""
    load_timeout: PositiveSeconds = 60.0
    """A load that takes longer is given up, and whoever waits for it gets a `TimeoutError`."""
    serializer: Literal["msgpack", "json"] = "msgpack"
    """How values become bytes."""
    compression: Literal["zstd", "zlib", "none"] = "zstd"
    """How large payloads are compressed."""
    compress_above: Bytes = 1024
    """Payloads larger than this are compressed."""
    compression_level: Annotated[int, Field(ge=1, le=22)] | None = None
    """zstd: 1 (fast) to 22 (small), 3 where not given; zlib: 1 to 9, 1 where not given."""
    max_entry: Bytes = 16 * 2**20
    """Larger values are refused, and decompression stops there."""
    after_rollback: Literal["dead", "revalidate", "trust"] = "revalidate"
    """Entries from before the server lost history: `dead`; served once more while loaded again; or `trust`
    (for servers that never lose what they acknowledged)."""
    tiers: tuple[Tier, ...] = ("redis",)
    """Where entries are kept: `[redis]`, `[memory, redis]`, or `[memory]` alone."""
    memory_ttl: PositiveSeconds | None = None
    """An entry stays in memory at most so long; as long as it is fresh where not given."""
    memory_copies: bool = False
    """Whether each hit in memory makes a value of its own; else callers share one and must not change it."""
    memory_bound: PositiveSeconds = 1.0
    """A hit in memory is never further behind the invalidation log than this."""
    early: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A hit with less than this share of its TTL left is loaded again behind the answer; 0: none is."""
    fail_safe: Seconds = 0.0
    """After its TTL an entry may be served so much longer if its loader fails or takes too long."""
    fail_safe_throttle: PositiveSeconds = 5.0
    """After a failed load the loader is left alone so long, while there is an entry to serve."""
    soft_timeout: PositiveSeconds | None = None
    """A load that takes longer goes on behind the answer, if there is a stale entry to answer with."""
    lease: bool = True
    """Whether one process loads a key for the whole fleet; else each may."""
    on_outage: Literal["bypass"] | PositiveSeconds | None = None
    """While the server is away: serve from memory for so long (60s where not given), or `bypass` the memory
    (the default of authoritative types)."""
    settle: Seconds = 0.0
    """An invalidation holds so much longer, for sources that are read from lagging replicas."""
    serve_dead_on_error: bool = False
    """Whether an invalidated entry may be served when its loader fails, within `fail_safe`."""
    warm: WarmPolicy = WarmPolicy()
    """How hot keys are kept warm."""

    @field_validator("tiers")
    @classmethod
    def _check_tiers(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        """Memory is always asked first, whatever the order that was written."""
        if not tiers or len(set(tiers)) != len(tiers):
            raise ValueError("write [redis], [memory, redis] or [memory]")
        return tuple(sorted(tiers))

    @model_validator(mode="after")
    def _check_level(self) -> Self:
        """A level is one of the method's own."""
        highest = COMPRESSION_LEVELS[self.compression]
        if self.compression_level is not None and self.compression_level > highest:
            allowed = f"from 1 up to {highest}" if highest else "not given"
            raise ValueError(f"compression_level is {allowed} with compression: {self.compression}")
        return self

    @property
    def in_memory(self) -> bool:
        """Whether entries are kept in the process."""
        return "memory" in self.tiers

    @property
    def in_redis(self) -> bool:
        """Whether entries are kept in the server."""
        return "redis" in self.tiers

    @property
    def kept_stale(self) -> float:
        """Seconds that an entry is kept after its TTL: to be served stale, or when its loader fails."""
        return max(self.stale, self.fail_safe)

    @property
    def outage_seconds(self) -> float:
        """How long memory may serve on its own while the server is away."""
        if self.on_outage is None:
            return 0.0 if self.kind == "authoritative" else OUTAGE_SECONDS
        return 0.0 if self.on_outage == "bypass" else self.on_outage


BUILTIN_TYPES: dict[str, dict[str, Any]] = {
    "llm_response": {"ttl": 7200.0},
    "stt_transcription": {"ttl": 86400.0},
    "tts_synthesis": {"ttl": 86400.0},
    "session": {"ttl": 1800.0, "kind": "authoritative", "warm": {"mode": "none"}},
    "db_query": {"ttl": 300.0},
}
"""The cache types that are always there, with what sets them apart from the defaults."""
