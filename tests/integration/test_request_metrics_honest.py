"""Request metrics say when they know less than there was, and take nothing that no sum survives."""

from __future__ import annotations

import asyncio
import math
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from stoker.core import CacheManager, RequestMetrics, UsageError
from stoker.core.responses import request_metrics
from tests.integration.test_request_metrics import WHERE, managers
from tests.servers import RedisServer


async def recorded(metrics: RequestMetrics, count: int, name: str = "r") -> None:
    assert all(
        await asyncio.gather(*[metrics.record(f"{name}{number}", "p", 1, 1.0) for number in range(count)])
    )


@WHERE
async def test_calls_that_were_dropped_are_told_of(
    redis_server: RedisServer, prefix: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_metrics, "BUCKET_RECORDS", 200)
    async with managers(redis_server, prefix, where) as manager:
        metrics = RequestMetrics(manager)
        await recorded(metrics, 150)
        found = await metrics.of_period(1)
        assert (len(found), found.truncated) == (150, False)
        await recorded(metrics, 1000, "more")
        found = await metrics.of_period(1)
        assert len(found) < 1150
        assert found.truncated, "its totals are not those of all calls"
        assert found.error is None


@WHERE
async def test_what_was_dropped_before_the_period_is_not_missed(
    redis_server: RedisServer, prefix: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_metrics, "BUCKET_RECORDS", 200)
    async with managers(redis_server, prefix, where) as manager:
        metrics = RequestMetrics(manager)
        await recorded(metrics, 1000)
        later = SimpleNamespace(time=lambda: time.time() + 60)
        monkeypatch.setattr(request_metrics, "time", later)
        found = await metrics.of_period(1 / 120)
        assert (len(found), found.truncated) == (0, False)


@WHERE
async def test_one_id_of_two_providers_is_two_calls(
    redis_server: RedisServer, prefix: str, where: str
) -> None:
    async with managers(redis_server, prefix, where) as manager:
        metrics = RequestMetrics(manager)
        for _ in range(2):
            await metrics.record("same", "openai", 100, 1.0)
            await metrics.record("same", "anthropic", 100, 2.0)
        found = await metrics.of_period(1)
        assert len(found) == 2
        assert found.totals.cost_usd == 3.0
        assert {name: totals.cost_usd for name, totals in found.providers.items()} == {
            "openai": 1.0,
            "anthropic": 2.0,
        }


@pytest.mark.parametrize(
    "number",
    [10**400, pytest.param(10**5000, id="10**5000"), 1e16, 10**16, math.nan, math.inf, -1, True, "1"],
)
async def test_numbers_that_no_sum_survives_are_refused(
    redis_server: RedisServer, prefix: str, number: Any
) -> None:
    metrics = RequestMetrics(managers(redis_server, prefix, "memory"))
    with pytest.raises(UsageError, match="response_time_ms is a number from 0 to 1e\\+15"):
        await metrics.record("r", "p", number)
    with pytest.raises(UsageError, match="cost_usd is a number from 0"):
        await metrics.record("r", "p", 1, number)
    for _ in range(3):
        assert await metrics.record("r", "p", 1e15, 1e15)
    assert math.isfinite((await metrics.of_period(1)).totals.cost_usd)


@pytest.mark.parametrize(
    ("stream_id", "took", "cost"),
    [
        ("*", math.nan, 1.0),
        ("*", 1.0, math.nan),
        ("*", math.inf, 1.0),
        ("*", 1.0, -1.0),
        ("*", 1e300, 1.0),
        ("253402300800000-0", 1.0, 1.0),
        ("18446744073709551615-0", 1.0, 1.0),
    ],
)
async def test_a_stranger_s_record_that_can_be_none_is_passed_over(
    redis_server: RedisServer, prefix: str, stream_id: str, took: float, cost: float
) -> None:
    async with managers(redis_server, prefix, "redis") as manager:
        assert isinstance(manager, CacheManager)
        metrics = RequestMetrics(manager)
        await metrics.record("r", "p", 1, 2.0)
        name = manager.keys.requests(int(time.time() // 3600) * 3600)
        packed = msgspec.msgpack.encode(["strange", "p", took, cost, time.time() + 1000])
        await manager.link.call("XADD", name, stream_id, "m", packed)
        found = await metrics.of_period(1)
        assert [record.request_id for record in found] == ["r"]
        assert found.totals.cost_usd == 2.0
        assert found.error is None
