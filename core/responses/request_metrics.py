"""Request metrics: who answered, how long it took and what it cost; kept for a day, read by period.

In the server they stand in streams, one for each hour, which drop their oldest records when there are too
many, and end by their TTL. Without a server the process keeps its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

from stoker.core.errors import LinkError, ReplyError, UsageError
from stoker.core.keys import REQUESTS_SECONDS, check_text
from stoker.core.responses.periods import MetricsOfPeriod, RequestMetric
from stoker.core.settings.policy import check_ttl

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

#: Records of a bucket, about: then the oldest are dropped.
BUCKET_RECORDS = 100_000

#: A period that has more records is told by the newest of them.
MAX_READ = 250_000

#: Records that are asked for at once, of one bucket, and buckets.
READ_RECORDS = 1_000
READ_BUCKETS = 24

#: The longest period, in hours: a year.
MAX_HOURS = 24 * 366

#: No time and no cost is larger, so that no sum overflows.
MAX_NUMBER = 1e15

#: The last moment that a record can be of: the end of the year 9999.
_LAST_SECOND = 253_402_300_799

#: Characters of a request's id, and of a provider's name.
MAX_TEXT = 256

_FIELD = "m"


class _Stored(msgspec.Struct, array_like=True):
    """A record as it is stored; when it was made, its id on the stream says."""

    request_id: str
    provider: str
    response_time_ms: float
    cost_usd: float
    until: float
    """Unix time until which it is kept."""


@dataclass
class _Period:
    """What is read."""

    since: float
    until: float
    truncated: bool = False
    """Whether there was more of it than was read."""


#: What managers without a server keep: all `RequestMetrics` of a manager the same, which goes with it.
_LOCAL = WeakKeyDictionary["CacheManager", deque[tuple[float, _Stored]]]()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


class RequestMetrics:
    """Records calls of models, and tells of those of a period.

    Args:
        manager: The cache; its server keeps them.
    """

    def __init__(self, manager: CacheManager) -> None:
        self._manager = manager
        self._kept_seconds = manager.config.request_metrics_ttl
        self._local = _LOCAL.setdefault(manager, deque(maxlen=BUCKET_RECORDS))

    async def record(
        self,
        request_id: str,
        provider: str,
        response_time_ms: float,
        cost_usd: float = 0.0,
        ttl_seconds: float | None = None,
    ) -> bool:
        """Record one call; say whether it was recorded.

        A call that is recorded again, by one id with one provider, counts once. Of an hour, about the
        100,000 newest calls of the whole fleet are kept.

        Args:
            request_id: The call's id.
            provider: Who answered.
            response_time_ms: How long it took, in milliseconds.
            cost_usd: What it cost, in US dollars.
            ttl_seconds: For how long it is kept; as `request_metrics_ttl` says where not given.

        Raises:
            UsageError: An argument is none that can be recorded.
        """
        _check_name("request_id", request_id)
        _check_name("provider", provider)
        took = _check_number("response_time_ms", response_time_ms)
        cost = _check_number("cost_usd", cost_usd)
        seconds = self._kept_seconds if ttl_seconds is None else check_ttl(ttl_seconds)
        now = time.time()
        stored = _Stored(request_id, provider, took, cost, now + seconds)
        if not self._manager.config.redis.enabled:
            self._local.append((now, stored))
            return True
        return await self._send(stored, now, math.ceil(seconds))

    async def _send(self, stored: _Stored, now: float, seconds: int) -> bool:
        name = self._manager.keys.requests(_bucket(now))
        left = seconds + REQUESTS_SECONDS
        try:
            added, *_ = await self._manager.link.calls(
                [
                    ("XADD", name, "MAXLEN", "~", BUCKET_RECORDS, "*", _FIELD, _encode(stored)),
                    ("EXPIRE", name, left, "NX"),
                    ("EXPIRE", name, left, "GT"),
                ]
            )
        except LinkError:
            return False
        return isinstance(added, bytes)

    async def of_period(self, hours: float = 24) -> MetricsOfPeriod:
        """Return the calls of the last hours, the newest first, with their totals.

        Trouble with the server is told in the answer's `error`, never raised.

        Args:
            hours: How far back; a year at most.

        Raises:
            UsageError: That is no length of time.
        """
        if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 < hours <= MAX_HOURS:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"hours is a positive number, {MAX_HOURS} at most, not {hours!r}")
        now = time.time()
        since = now - hours * 3600
        found: dict[tuple[str, str], RequestMetric] = {}
        period = _Period(since, now)
        source = self._read(period) if self._manager.config.redis.enabled else self._read_local(period)
        read, error = 0, None
        try:
            async with contextlib.aclosing(source):
                async for at, stored in source:
                    read += 1
                    if stored.until > now:
                        found.setdefault((stored.request_id, stored.provider), _metric(at, stored))
                    if read >= MAX_READ:
                        period.truncated = True
                        break
        except (LinkError, ReplyError) as trouble:
            error = str(trouble)
        return MetricsOfPeriod(list(found.values()), hours=hours, truncated=period.truncated, error=error)

    async def _read_local(self, period: _Period) -> AsyncGenerator[tuple[float, _Stored]]:
        kept = self._local
        period.truncated = len(kept) == kept.maxlen and kept[0][0] >= period.since
        for at, stored in reversed(kept):
            if at >= period.since:
                yield at, stored

    async def _read(self, period: _Period) -> AsyncGenerator[tuple[float, _Stored]]:
        """Yield the records of a period, newest first; note whether a bucket has dropped some of it.

        Raises:
            LinkError: The server can't be reached.
            ReplyError: It refuses.
        """
        since, now = period.since, period.until
        first = f"{int(since * 1000)}-0"
        # The server's clock, which makes the ids, may run ahead of this one's.
        buckets = range(
            _bucket(now) + REQUESTS_SECONDS, _bucket(since) - 1 - REQUESTS_SECONDS, -REQUESTS_SECONDS
        )
        for at in range(0, len(buckets), READ_BUCKETS):
            names = [self._manager.keys.requests(bucket) for bucket in buckets[at : at + READ_BUCKETS]]
            replies = await self._manager.link.calls(
                [("XREVRANGE", name, "+", first, "COUNT", READ_RECORDS) for name in names]
            )
            for name, reply in zip(names, replies, strict=True):
                page, read = reply, 0
                while True:
                    if isinstance(page, ReplyError):
                        raise page
                    read += len(page)
                    period.truncated |= read >= BUCKET_RECORDS  # from there on, the oldest are dropped
                    for record in _records(page):
                        yield record
                    if len(page) < READ_RECORDS:
                        break
                    last = page[-1][0].decode()
                    page = await self._manager.link.call(
                        "XREVRANGE", name, f"({last}", first, "COUNT", READ_RECORDS
                    )
            await asyncio.sleep(0)


def _records(page: Any) -> Iterator[tuple[float, _Stored]]:
    """The readable records of a reply; what is none is passed over."""
    for name, fields in page:
        try:
            stored = _decode(fields[1])
        except (msgspec.MsgspecError, IndexError, TypeError):
            continue
        at = int(name.split(b"-")[0]) / 1000
        if at <= _LAST_SECOND and _is_number(stored.response_time_ms) and _is_number(stored.cost_usd):
            yield at, stored


def _metric(at: float, stored: _Stored) -> RequestMetric:
    return RequestMetric(
        request_id=stored.request_id,
        provider=stored.provider,
        response_time_ms=stored.response_time_ms,
        cost_usd=stored.cost_usd,
        timestamp=datetime.fromtimestamp(at, UTC),
    )


def _bucket(at: float) -> int:
    return int(at // REQUESTS_SECONDS) * REQUESTS_SECONDS


def _check_name(what: str, text: str) -> None:
    check_text(what, text)
    if not 0 < len(text) <= MAX_TEXT:
        raise UsageError(f"{what} has 1 to {MAX_TEXT} characters, not {len(text)}")


def _check_number(what: str, value: float) -> float:
    number = not isinstance(value, bool) and isinstance(value, int | float)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not number or not _is_number(value):
        raise UsageError(f"{what} is a number from 0 to {MAX_NUMBER:g}, not {_shown(value)}")
    return float(value)


def _is_number(value: float) -> bool:
    """Whether a number can be a time or a cost."""
    return 0 <= value <= MAX_NUMBER


def _shown(value: Any) -> str:
    """A value in a message; of an integer with more digits than Python writes, its size."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    return f"{value!r:.40}"
