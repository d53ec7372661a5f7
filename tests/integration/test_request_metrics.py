"""Request metrics: calls of models are recorded, bounded, added up, and end."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.core import CacheConfig, CacheManager, RequestMetrics, ResponseCache, UsageError, load_config
from stoker.core.maintenance.cleanup import cleanup_metrics
from stoker.core.metrics.percentiles import percentile
from stoker.core.responses import request_metrics
from tests.managers import make_manager
from tests.servers import RedisServer

ALONE = CacheConfig.model_validate({"redis": {"enabled": False}})


def managers(server: RedisServer, prefix: str, where: str) -> CacheManager:
    return make_manager(server, prefix) if where == "redis" else CacheManager(ALONE)


WHERE = pytest.mark.parametrize("where", ["redis", "memory"])


@WHERE
async def test_calls_are_told_with_totals_and_percentiles(
    redis_server: RedisServer, prefix: str, where: str
) -> None:
    async with managers(redis_server, prefix, where) as manager:
        metrics = RequestMetrics(manager)
        for number in range(1, 101):
            provider = "openai" if number % 2 else "anthropic"
            assert await metrics.record(f"req_{number}", provider, number * 10, 0.25)

        found = await metrics.of_period(24)

        assert len(found) == 100
        assert found.error is None
        assert not found.truncated
        assert [record.request_id for record in found[:2]] == ["req_100", "req_99"], "the newest first"
        assert found.totals.requests == 100
        assert found.totals.cost_usd == 25.0
        assert found.totals.response_time_ms == 50_500
        assert found.totals.mean_ms == 505
        assert found.totals.p50_ms == 505
        assert found.totals.p95_ms == pytest.approx(950.5)
        assert found.totals.p99_ms == pytest.approx(990.1)
        assert list(found.providers) == ["anthropic", "openai"]
        assert found.providers["openai"].requests == 50
        assert found.providers["openai"].cost_usd == 12.5
        assert found.providers["openai"].p50_ms == 500
        assert found.providers["anthropic"].p50_ms == 510


@WHERE
async def test_a_record_can_be_used_like_a_dict(redis_server: RedisServer, prefix: str, where: str) -> None:
    async with managers(redis_server, prefix, where) as manager:
        began = time.time()
        await RequestMetrics(manager).record("req_1", "openai", 1250, 0.0025)
        [record] = await RequestMetrics(manager).of_period()

        assert record["request_id"] == "req_1"
        assert record.get("provider") == record.provider == "openai"
        assert record.get("no such", 5) == 5
        assert "cost_usd" in record
        assert "no such" not in record
        assert dict(record)["response_time_ms"] == 1250
        assert began - 1 <= record.timestamp.timestamp() <= time.time() + 1
        with pytest.raises(KeyError):
            record["no such"]


@WHERE
async def test_a_call_that_is_recorded_twice_counts_once(
    redis_server: RedisServer, prefix: str, where: str
) -> None:
    async with managers(redis_server, prefix, where) as manager:
        metrics = RequestMetrics(manager)
        await metrics.record("a", "openai", 100, 1.0)
        await metrics.record("b", "openai", 100, 1.0)
        await metrics.record("a", "openai", 300, 2.0)

        found = await metrics.of_period()

        assert [(record.request_id, record.cost_usd) for record in found] == [("a", 2.0), ("b", 1.0)]
        assert found.totals.cost_usd == 3.0


@WHERE
async def test_what_was_to_be_kept_for_less_is_gone(
    redis_server: RedisServer, prefix: str, where: str
) -> None:
    async with managers(redis_server, prefix, where) as manager:
        metrics = RequestMetrics(manager)
        await metrics.record("short", "openai", 100, ttl_seconds=0.000_001)
        await metrics.record("long", "openai", 100, ttl_seconds=100)

        assert [record.request_id for record in await metrics.of_period()] == ["long"]


async def test_a_period_reaches_back_so_far(redis_server: RedisServer, prefix: str) -> None:
    """Records of earlier hours stand in streams of their own; they are put there as if time had passed."""
    client, now = redis_server.client(), time.time()
    async with make_manager(redis_server, prefix) as manager:
        for hours in (0.5, 1.5, 5, 23.5, 25):
            at = now - hours * 3600
            name = manager.keys.requests(int(at // 3600) * 3600)
            stored = request_metrics._encode(
                request_metrics._Stored(f"{hours:g}", "openai", 100, 1.0, now + 99)
            )
            client.xadd(name, {"m": stored}, id=f"{int(at * 1000)}-0")
            client.expire(name, 1000)
        metrics = RequestMetrics(manager)

        for hours, count in ((1, 1), (2, 2), (6, 3), (24, 4), (48, 5), (24 * 366, 5)):
            assert len(await metrics.of_period(hours)) == count, hours
    client.close()


async def test_long_periods_are_read_in_pages(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_metrics, "READ_RECORDS", 7)
    async with make_manager(redis_server, prefix) as manager:
        metrics = RequestMetrics(manager)
        await asyncio.gather(*(metrics.record(f"{number}", "p", number) for number in range(40)))

        found = await metrics.of_period()
        assert sorted(int(record.request_id) for record in found) == list(range(40))
        assert not found.truncated

        monkeypatch.setattr(request_metrics, "MAX_READ", 20)
        newest = await metrics.of_period()
        assert len(newest) == 20
        assert newest.truncated
        assert [record.request_id for record in newest] == [record.request_id for record in found][:20]


async def test_they_are_bounded_in_number_and_time(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_metrics, "BUCKET_RECORDS", 100)
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as manager:
        metrics = RequestMetrics(manager)
        await asyncio.gather(*(metrics.record(f"{number}", "p", 1, ttl_seconds=60) for number in range(500)))
        streams = list(client.scan_iter(match=f"{prefix}:requests:*"))
        assert sum(client.xlen(name) for name in streams) < 500
        assert all(0 < client.ttl(name) <= 60 + 3600 for name in streams)
        found = await metrics.of_period()
        assert found[0].request_id == "499", "the oldest make room"

        await metrics.record("long", "p", 1)
        await metrics.record("short", "p", 1, ttl_seconds=5)
        assert any(86400 < client.ttl(name) <= 86400 + 3600 for name in streams), "the longest counts"
    client.close()


async def test_a_call_is_recorded_with_one_write(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as manager:
        before = manager.link.writes
        await RequestMetrics(manager).record("a", "p", 1)
        assert manager.link.writes == before + 1


async def test_the_ttl_is_configured(redis_server: RedisServer, prefix: str) -> None:
    assert CacheConfig().request_metrics_ttl == 86400
    assert load_config(CacheConfig, None, {"CACHE_METRICS_TTL": "3h"}).value.request_metrics_ttl == 10_800
    environment = {"CACHE_METRICS_TTL": "3h", "STOKER_REQUEST_METRICS_TTL": "2h"}
    assert load_config(CacheConfig, None, environment).value.request_metrics_ttl == 7_200
    config = CacheConfig.model_validate(
        {"prefix": prefix, "redis": {"url": redis_server.url}, "request_metrics_ttl": 600}
    )
    client = redis_server.client()
    async with CacheManager(config, recording=False) as manager:
        await RequestMetrics(manager).record("a", "p", 1)
        [name] = client.scan_iter(match=f"{prefix}:requests:*")
        assert 4000 < client.ttl(name) <= 4200
    client.close()


async def test_a_server_that_is_away_is_told_of_and_never_raises(own_redis_server: RedisServer) -> None:
    config = CacheConfig.model_validate({"redis": {"url": own_redis_server.url, "timeout": 0.5}})
    async with ResponseCache(config) as cache:
        assert await cache.cache_request_metrics("a", "p", 1)
        own_redis_server.kill()

        assert await cache.cache_request_metrics("b", "p", 1) is False
        found = await cache.get_metrics_for_period()
        assert len(found) == 0
        assert found.error
        assert found.totals.requests == 0
        assert found.totals.p99_ms == 0.0
        assert found.providers == {}


async def test_a_server_that_refuses_is_told_of_too(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as manager:
        metrics = RequestMetrics(manager)
        await metrics.record("a", "p", 1)
        [name] = client.scan_iter(match=f"{prefix}:requests:*")
        client.set(name, "no stream", ex=100)

        assert await metrics.record("b", "p", 1) is False
        assert "WRONGTYPE" in ((await metrics.of_period()).error or "")
    client.close()


async def test_what_is_no_record_is_passed_over(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as manager:
        metrics = RequestMetrics(manager)
        await metrics.record("a", "p", 1)
        [name] = client.scan_iter(match=f"{prefix}:requests:*")
        client.xadd(name, {"m": b"\xff"})
        client.xadd(name, {"m": b"\x95\x01\x02\x03\x04\x05"})
        client.xadd(name, {"other": b""})

        assert [record.request_id for record in await metrics.of_period()] == ["a"]
    client.close()


async def test_a_clean_up_gives_a_bound_to_what_has_lost_it(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as manager:
        await RequestMetrics(manager).record("a", "p", 1)
        [name] = client.scan_iter(match=f"{prefix}:requests:*")
        client.persist(name)

        report = await cleanup_metrics(manager)

        assert report.bounded >= 1
        assert 0 < client.ttl(name) <= 86400 + 3600
    client.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("", "p", 1), "request_id has 1 to 256"),
        (("x" * 257, "p", 1), "request_id has 1 to 256"),
        ((5, "p", 1), "request_id is a str"),
        (("a", "", 1), "provider has 1 to 256"),
        (("a", "p", -1), "response_time_ms is a number from 0"),
        (("a", "p", "1"), "response_time_ms is a number"),
        (("a", "p", True), "response_time_ms is a number"),
        (("a", "p", math.nan), "response_time_ms is a number"),
        (("a", "p", 1, math.inf), "cost_usd is a number"),
        (("a", "p", 1, None), "cost_usd is a number"),
        (("a", "p", 1, 0, 0), "a TTL is a positive number"),
    ],
)
async def test_bad_arguments_are_refused(arguments: tuple[Any, ...], says: str) -> None:
    async with CacheManager(ALONE) as manager:
        with pytest.raises(UsageError, match=says):
            await RequestMetrics(manager).record(*arguments)


@pytest.mark.parametrize("hours", [0, -1, math.nan, 24 * 366 + 1, "24", True])
async def test_a_period_is_a_length_of_time(hours: Any) -> None:
    async with CacheManager(ALONE) as manager:
        with pytest.raises(UsageError, match="hours is a positive number"):
            await RequestMetrics(manager).of_period(hours)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=50), st.integers(1, 99))
def test_percentiles_are_interpolated(values: list[float], percent: int) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]

    assert percentile(sorted(values), percent / 100) == pytest.approx(expected)
