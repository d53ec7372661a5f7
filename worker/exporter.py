"""The exporter: the fleet's metrics for Prometheus, read from Redis when they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoker.core.errors import ConfigError, StokerError
from stoker.core.maintenance.heartbeat import Heartbeat
from stoker.core.manager import CacheManager
from stoker.core.metrics.collectors import fleet_metrics
from stoker.worker.config import StokerConfig
from stoker.worker.health import health_routes, serve

#: A scrape takes no longer; what it has not read by then is missing, and `stoker_up` is 0.
SCRAPE_SECONDS = 4.0

#: The server may take so long to answer: nobody waits behind a scrape as behind a read.
TIMEOUT_SECONDS = 2.0


class _Collected(Collector):
    """Families that have been read already, in the form that prometheus_client renders."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


async def scrape(manager: CacheManager, group: str) -> list[Metric]:
    """Read the fleet's metrics, within the time limit; `stoker_up` says whether that went well."""
    families: list[Metric] = []
    try:
        async with asyncio.timeout(SCRAPE_SECONDS):
            families = await fleet_metrics(manager, group=group)
    except (StokerError, TimeoutError):
        up = 0
    else:
        up = int(manager.link.ready)
    return [GaugeMetricFamily("stoker_up", "Whether the server answers the exporter", up), *families]


def make_app(manager: CacheManager, group: str = "stoker") -> Starlette:
    """/metrics, /healthz and /readyz over a connected manager.

    Args:
        manager: The cache; it is not closed here.
        group: The consumer group of the event stream.
    """

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(await scrape(manager, group)))
        return Response(encode(registry), media_type=content_type)

    async def redis_answers() -> str | None:
        try:
            await manager.link.call("PING")
        except StokerError as error:
            return f"Redis does not answer: {error}"
        return None

    return Starlette(routes=[Route("/metrics", metrics), *health_routes({"redis": redis_answers})])


async def run_exporter(config: StokerConfig) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        PortTakenError: Another program listens on `metrics.listen`.
        ConfigError: `metrics.listen` is null.
    """
    if config.metrics.listen is None:
        raise ConfigError("metrics.listen is null: an exporter needs an address, such as 127.0.0.1:9540")
    patient = config.redis.model_copy(update={"timeout": max(config.redis.timeout, TIMEOUT_SECONDS)})
    manager = CacheManager(config.model_copy(update={"redis": patient}), recording=False)
    await manager.connect()
    heartbeat = Heartbeat(manager, "exporter")
    await heartbeat.start()
    try:
        await serve(make_app(manager, config.events.group), config.metrics.listen, "metrics.listen")
    finally:
        await heartbeat.stop()
        await manager.close()
