"""`CacheMetrics`: what managers did, in the registry that it was given."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from stoker.core import CacheConfig, CacheManager, CacheMetrics, CacheType, UsageError
from stoker.core.counters import TypeCounters
from stoker.core.metrics.cache_metrics import Window
from stoker.core.metrics.collectors import ProcessCollector
from tests.managers import make_config
from tests.servers import RedisServer
from tests.waiting import eventually

ALONE = CacheConfig.model_validate({"redis": {"enabled": False}})


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


async def test_what_a_manager_did_appears_by_cache_type_in_the_given_registry(
    redis_server: RedisServer, prefix: str
) -> None:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry=registry)
    async with CacheManager(config=make_config(redis_server, prefix), metrics=metrics) as cache:
        await cache.set(CacheType.LLM_RESPONSE, "k", {"response": "..."})
        for key in ("k", "k", "k", "missing"):
            await cache.get(CacheType.LLM_RESPONSE, key)
        assert value(registry, "cache_hits_total", cache_type="llm_response") == 3
        assert value(registry, "cache_misses_total", cache_type="llm_response") == 1
        assert value(registry, "cache_hit_rate", cache_type="llm_response") == 0.75
        durations = {"cache_type": "llm_response", "tier": "redis", "operation": "set"}
        assert value(registry, "cache_operation_duration_seconds_count", **durations) == 1
        assert value(registry, "stoker_link_up") == 1
        # All that it shows can be scraped, in one series for each type.
        assert generate_latest(registry).decode().count("\ncache_hits_total{") == 1


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are looked up a hundred times a second."""
    monkeypatch.setattr("stoker.core.metrics.noting.EVERY_SECONDS", 0.01)


async def shows_sizes(registry: CollectorRegistry, **wanted: float | None) -> None:
    def shown() -> dict[str, float | None]:
        return {name: value(registry, "cache_size_keys", cache_type=name) for name in wanted}

    await eventually(lambda: shown() == wanted, f"sizes are {wanted}")


async def test_sizes_are_looked_up_without_being_asked_for(redis_server: RedisServer, prefix: str) -> None:
    registry = CollectorRegistry()
    config = make_config(redis_server, prefix)
    async with CacheManager(config, recording=False) as before:
        await before.set("session", "s", 1)
    async with CacheManager(config, metrics=CacheMetrics(registry)):
        await shows_sizes(registry, session=1, llm_response=0)


@pytest.mark.usefixtures("often")
async def test_processes_share_a_young_count_and_only_workers_walk_large_servers(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, client = CollectorRegistry(), redis_server.client()
    config = make_config(redis_server, prefix)
    async with CacheManager(config, metrics=CacheMetrics(registry), recording=False) as cache:
        await shows_sizes(registry, session=0)
        client.hset(cache.keys.sizes, mapping={"": time.time(), "session": 5})
        await shows_sizes(registry, session=5)  # somebody counted a moment ago
        monkeypatch.setattr("stoker.core.maintenance.sizes.WALKED_KEYS", 0)
        client.hset(cache.keys.sizes, mapping={"": "1.0", "session": 7})
        await shows_sizes(registry, session=7)
        client.unlink(cache.keys.sizes)
        await shows_sizes(registry, session=None)
        monkeypatch.undo()
        await shows_sizes(registry, session=0)
    client.close()


async def test_services_with_types_of_their_own_on_one_prefix_each_see_their_sizes(
    redis_server: RedisServer, prefix: str
) -> None:
    page, user = CollectorRegistry(), CollectorRegistry()
    pages, users = make_config(redis_server, prefix, page={}), make_config(redis_server, prefix, user={})
    async with CacheManager(pages, recording=False) as one, CacheManager(users, recording=False) as two:
        await one.set("page", "1", 1)
        await two.set_many("user", {"1": 1, "2": 2})
    async with CacheManager(pages, metrics=CacheMetrics(page)):
        await shows_sizes(page, page=1, user=None)
        async with CacheManager(users, metrics=CacheMetrics(user)):  # that count is young
            await shows_sizes(user, page=None, user=2, session=0)


async def test_a_cache_in_memory_alone_has_no_link_that_could_be_down(
    redis_server: RedisServer, prefix: str
) -> None:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry)
    async with CacheManager(ALONE, metrics=metrics):
        assert value(registry, "stoker_link_up") is None
        async with CacheManager(make_config(redis_server, prefix), metrics=metrics):
            assert value(registry, "stoker_link_up") == 1
    alone = CollectorRegistry()
    alone.register(ProcessCollector(CacheManager(ALONE)))
    assert value(alone, "stoker_link_up") is None


async def test_types_in_memory_are_counted_at_the_scrape() -> None:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry)
    first, second = CacheManager(ALONE, metrics=metrics), CacheManager(ALONE, metrics=metrics)
    await first.set("session", "a", 1)
    await second.set("session", "a", 1)
    assert value(registry, "cache_size_keys", cache_type="session") == 2
    assert value(registry, "stoker_memory_entries") == 2


async def test_two_managers_with_one_metrics_add_up(redis_server: RedisServer, prefix: str) -> None:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry)
    config = make_config(redis_server, prefix)
    async with (
        CacheManager(config, metrics=metrics, recording=False) as one,
        CacheManager(config, metrics=metrics, recording=False) as two,
    ):
        await one.set("session", "k", 1)
        assert await one.get("session", "k") == await two.get("session", "k") == 1
        await two.get("session", "missing")
        assert value(registry, "cache_hits_total", cache_type="session") == 2
        assert value(registry, "cache_misses_total", cache_type="session") == 1
        one.known_sizes = two.known_sizes = {"session": 1}
        assert value(registry, "cache_size_keys", cache_type="session") == 1  # it is one server


async def test_counters_outlive_their_manager_and_reset_stats() -> None:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry)
    cache = CacheManager(ALONE, metrics=metrics)
    await cache.connect()
    await cache.set("session", "a", 1)
    await cache.get("session", "a")
    await cache.reset_stats()
    await cache.close()
    assert value(registry, "cache_hits_total", cache_type="session") == 1
    del cache
    await asyncio.sleep(0)  # the loop lets go of tasks that have ended
    gc.collect()
    assert value(registry, "cache_hits_total", cache_type="session") == 1
    assert value(registry, "stoker_memory_entries") == 0
    again = CacheManager(ALONE, metrics=metrics)
    await again.get("session", "a")
    assert value(registry, "cache_hits_total", cache_type="session") == 1
    assert value(registry, "cache_misses_total", cache_type="session") == 1


def test_one_registry_takes_cache_metrics_once() -> None:
    registry = CollectorRegistry()
    CacheMetrics(registry)
    with pytest.raises(UsageError, match="give one CacheMetrics to all managers"):
        CacheMetrics(registry=registry)


@pytest.mark.parametrize("first", [ProcessCollector, lambda _: CacheMetrics(CollectorRegistry())])
def test_one_registry_takes_a_process_collector_once(first: Callable[[CacheManager], Collector]) -> None:
    """Two would show each family twice, which a server refuses whole."""
    registry = CollectorRegistry()
    registry.register(first(CacheManager(ALONE)))
    with pytest.raises(ValueError, match="cache_hits_total"):
        registry.register(ProcessCollector(CacheManager(ALONE)))
    assert generate_latest(registry).count(b"# TYPE cache_hits_total ") == 1


class Dropping(dict[str, TypeCounters]):
    """Lets the last reference to something go when it is read, as a collection of garbage may at any time."""

    held: list[CacheManager]

    def items(self) -> Any:
        self.held.clear()
        gc.collect()
        return super().items()


@pytest.mark.parametrize("look", [CacheMetrics.note, lambda metrics: list(metrics.collect())])
def test_a_manager_that_goes_away_while_counters_are_read_stops_nothing(
    look: Callable[[CacheMetrics], object],
) -> None:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry)
    reader, going = CacheManager(ALONE, metrics=metrics), CacheManager(ALONE, metrics=metrics)
    going.counters.of("session").hits += 3
    reader.counters.types = types = Dropping(reader.counters.types)
    types.held, gone = [going], weakref.ref(going)
    del going
    reading = threading.Thread(target=look, args=(metrics,), daemon=True)
    reading.start()
    reading.join(20)
    assert not reading.is_alive(), "it waits for itself"
    gc.collect()
    assert gone() is None
    assert value(registry, "cache_hits_total", cache_type="session") == 3


def test_managers_that_are_no_more_leave_their_sums_and_nothing_else() -> None:
    metrics = CacheMetrics(CollectorRegistry())
    for _ in range(20):
        manager = CacheManager(ALONE, metrics=metrics)
        del manager
        gc.collect()
    assert len(metrics._watched) <= 1


def counted(hits: int, misses: int) -> dict[str, TypeCounters]:
    counters = TypeCounters()
    counters.hits, counters.misses = hits, misses
    return {"page": counters}


def shown(window: Window, hits: int, misses: int) -> float | None:
    samples = window.rates(counted(hits, misses)).samples
    return samples[0].value if samples else None


def test_the_rate_is_of_the_last_five_minutes_and_nothing_without_reads() -> None:
    now = 0.0
    window = Window(300, clock=lambda: now)
    assert shown(window, 0, 0) is None
    now = 100.0
    assert shown(window, 90, 10) == 0.9
    now = 350.0
    assert shown(window, 90, 60) == 0.6, "since the process began"
    now = 450.0
    assert shown(window, 90, 60) == 0.0, "50 misses since the note that is 350 s old"
    assert shown(window, 140, 60) == 0.5
    now = 900.0
    assert shown(window, 140, 60) == 1.0, "50 hits since the note that is 450 s old"
    now = 1300.0
    assert shown(window, 140, 60) is None


def test_notes_do_not_grow_with_scrapes() -> None:
    now = 0.0
    window = Window(300, clock=lambda: now)
    for step in range(1, 20_001):
        now = step / 20  # twenty scrapes a second
        window.note(counted(step, 0))
    assert len(window._notes) <= 303


async def test_it_shows_all_that_a_collector_of_one_manager_shows_and_rates_and_sizes(
    redis_server: RedisServer, prefix: str
) -> None:
    metrics = CacheMetrics(CollectorRegistry())
    async with CacheManager(make_config(redis_server, prefix), metrics=metrics) as cache:
        await cache.get("session", "missing")
        alone = {family.name for family in ProcessCollector(cache).collect()}
        assert {family.name for family in metrics.collect()} == alone | {"cache_hit_rate", "cache_size_keys"}


async def test_scrapes_of_other_threads_meet_managers_that_come_and_go() -> None:
    registry = CollectorRegistry()
    metrics = CacheMetrics(registry)
    scrapes = [asyncio.create_task(asyncio.to_thread(scrape_often, registry)) for _ in range(2)]
    for n in range(60):
        cache = CacheManager(ALONE, metrics=metrics)
        await cache.set("session", str(n), n)
        assert await cache.get("session", str(n)) == n
        await asyncio.sleep(0)
    await asyncio.gather(*scrapes)
    assert value(registry, "cache_hits_total", cache_type="session") == 60


def scrape_often(registry: CollectorRegistry) -> None:
    for _ in range(60):
        generate_latest(registry)
