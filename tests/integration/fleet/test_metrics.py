"""What Prometheus sees: numbers that match what was done, and no series that depends on keys."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from stoker.core import CacheManager, loader
from stoker.core.counters import DURATION_BOUNDS
from stoker.core.maintenance.heartbeat import ALIVE_SECONDS, KEPT_SECONDS, Heartbeat
from stoker.core.maintenance.sizes import measure_sizes
from stoker.core.metrics.collectors import ProcessCollector, fleet_metrics
from stoker.core.warming.pauses import pause
from stoker.core.warming.rates import compute_hit_rates
from stoker.core.warming.warming import warm
from tests.integration.fleet.caches import ALWAYS_DUE, flush_counters, flush_hot, make_cache
from tests.servers import RedisServer

TYPES = {"product": {"ttl": 60, "warm": ALWAYS_DUE}}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@loader("metrics.same", cache_type="product")
async def same(number: int) -> int:
    return number


def samples(families: list[Metric]) -> Samples:
    """Samples by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def scrape(cache: CacheManager) -> Samples:
    """What a scrape of a process's metrics reads."""
    registry = CollectorRegistry()
    registry.register(ProcessCollector(cache))
    return samples(list(text_string_to_metric_families(generate_latest(registry).decode())))


def of(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


async def test_a_process_shows_what_its_callers_saw(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        for _ in range(20):
            for number in range(5):
                await cache.get_or_load("product", str(number), same, number)
        await flush_hot(cache)
        await warm(cache, "product")
        found = scrape(cache)
        assert found[of("cache_hits_total", cache_type="product")] == 95
        assert found[of("cache_misses_total", cache_type="product")] == 5
        assert found[of("stoker_loads_total", cache_type="product", origin="read")] == 5
        assert found[of("stoker_loads_total", cache_type="product", origin="warm")] == 5
        labels = {"cache_type": "product", "tier": "redis", "operation": "get"}
        counted = found[of("cache_operation_duration_seconds_count", **labels)]
        assert counted == found[of("cache_operation_duration_seconds_bucket", le="+Inf", **labels)] > 0
        assert min(DURATION_BOUNDS) < 0.001
        assert found[of("stoker_link_up")] == 1


async def test_series_do_not_depend_on_keys(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        await cache.get_or_load("product", "0", same, 0)
        before = set(scrape(cache))
        for number in range(100):
            await cache.get_or_load("product", str(number), same, number)
        assert set(scrape(cache)) == before


async def test_the_fleet_is_read_from_the_server(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        for number in (1, 2, 1, 1):
            await cache.get_or_load("product", str(number), same, number)
        await flush_hot(cache)
        await flush_counters(cache)
        await compute_hit_rates(cache)
        await warm(cache, "product")
        await measure_sizes(cache)
        await pause(cache, "session", "testing")
        await cache.link.call("XADD", cache.keys.events, "*", "d", "{}")
        await cache.link.call("XGROUP", "CREATE", cache.keys.events, "stoker", "0")
        await Heartbeat(cache, "worker").beat()
        found = samples(await fleet_metrics(cache))
        assert found[of("stoker_fleet_up")] == 1
        assert found[of("cache_hit_rate", cache_type="product")] == 0.5
        assert found[of("stoker_hit_rate", cache_type="product", window="3600")] == 0.5
        assert of("cache_hit_rate", cache_type="session") not in found
        assert found[of("cache_size_keys", cache_type="product")] == 2
        assert found[of("stoker_warm_runs_total", cache_type="product", status="done")] == 1
        assert found[of("stoker_warm_keys_total", cache_type="product", outcome="loaded")] == 2
        assert found[of("stoker_warming_paused", cache_type="session")] == 1
        assert found[of("stoker_warming_paused", cache_type="product")] == 0
        assert found[of("stoker_events_lag")] == 1
        assert found[of("stoker_events_dead")] == 0
        assert found[of("stoker_log_records")] >= 1
        assert found[of("stoker_processes", component="worker")] == 1


async def test_whether_a_beat_leads_is_told(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:

        async def leads() -> float:
            return samples(await fleet_metrics(cache))[of("stoker_beat_leader")]

        assert await leads() == 0
        await Heartbeat(cache, "worker", {"leader": 1}, identity="w").beat()
        await Heartbeat(cache, "beat", {"leader": 0}, identity="standby").beat()
        assert await leads() == 0
        await Heartbeat(cache, "beat", {"leader": 1}, identity="leader").beat()
        assert await leads() == 1
        name = cache.keys.process("beat", "leader")
        await cache.link.call("EXPIRE", name, int(KEPT_SECONDS - ALIVE_SECONDS - 1))
        assert await leads() == 0, "it is dead"


async def test_a_fleet_that_nobody_used_yet_has_no_rates(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix, **TYPES) as cache:
        found = samples(await fleet_metrics(cache))
        assert found[of("stoker_fleet_up")] == 1
        assert not [
            name for name, _ in found if name in {"cache_hit_rate", "cache_size_keys", "stoker_events_lag"}
        ]


async def test_without_a_server_only_that_is_said(own_redis_server: RedisServer) -> None:
    async with make_cache(own_redis_server, "away", **TYPES) as cache:
        own_redis_server.kill()
        assert samples(await fleet_metrics(cache)) == {of("stoker_fleet_up"): 0}
