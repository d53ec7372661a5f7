"""What holds for all entries of one cache type."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from stoker.core.errors import UsageError

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
    max_entry: Bytes = 16 * 2**20
    """Larger values are refused, and decompression stops there."""
    after_rollback: Literal["dead", "revalidate"] = "revalidate"
    """Entries from before the server lost history: `dead`, or served once more while loaded again."""
    warm: WarmPolicy = WarmPolicy()
    """How hot keys are kept warm."""


BUILTIN_TYPES: dict[str, dict[str, Any]] = {
    "llm_response": {"ttl": 7200.0},
    "stt_transcription": {"ttl": 86400.0},
    "tts_synthesis": {"ttl": 86400.0},
    "session": {"ttl": 1800.0, "kind": "authoritative", "warm": {"mode": "none"}},
    "db_query": {"ttl": 300.0},
}
"""The cache types that are always there, with what sets them apart from the defaults."""
