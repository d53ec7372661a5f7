"""The exporter's pages, over a server that is there, gone, and back."""

from __future__ import annotations

import json
import signal
import subprocess

import httpx
from prometheus_client.parser import text_string_to_metric_families

from stoker.core.manager import CacheManager
from stoker.core.settings.config import CacheConfig
from stoker.worker.exporter import make_app
from tests.commands import STOKER, clean_environment
from tests.servers import RedisServer, free_port
from tests.waiting import eventually, wait_until


def configured(url: str) -> CacheConfig:
    return CacheConfig.model_validate({"redis": {"url": url, "timeout": "2s"}, "types": {"product": {}}})


def samples(text: str) -> dict[str, float]:
    return {
        sample.name
        + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_fleet_is_read_at_the_scrape(redis_server: RedisServer, prefix: str) -> None:
    config = configured(redis_server.url).model_copy(update={"prefix": prefix})
    async with CacheManager(config) as manager:
        await manager.set("product", "1", {"name": "tea"})
        transport = httpx.ASGITransport(make_app(manager))
        async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as client:
            answer = await client.get("/metrics")
            found = samples(answer.text)

            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/plain")
            assert found["stoker_up"] == 1
            assert found["stoker_log_records"] == 1
            assert (await client.get("/readyz")).status_code == 200

            await manager.invalidate_type("product")
            assert samples((await client.get("/metrics")).text)["stoker_log_records"] == 2


async def test_without_redis_it_answers_and_says_so(own_redis_server: RedisServer) -> None:
    async with CacheManager(configured(own_redis_server.url), recording=False) as manager:
        transport = httpx.ASGITransport(make_app(manager))
        async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as client:

            async def up() -> float:
                answer = await client.get("/metrics")
                assert answer.status_code == 200
                return samples(answer.text)["stoker_up"]

            async def down() -> bool:
                return not await up()

            assert await up() == 1
            own_redis_server.kill()
            await eventually(down, "stoker_up 0")
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert "does not answer" in answer.json()["checks"]["redis"]["reason"]
            assert (await client.get("/healthz")).status_code == 200

            own_redis_server.start()
            await eventually(up, "stoker_up 1 again")


async def test_openmetrics_where_it_is_asked_for(redis_server: RedisServer, prefix: str) -> None:
    config = configured(redis_server.url).model_copy(update={"prefix": prefix})
    async with CacheManager(config, recording=False) as manager:
        transport = httpx.ASGITransport(make_app(manager))
        async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as client:
            answer = await client.get(
                "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
            )

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_alone_it_starts_without_redis_and_stops_with_exit_code_0(own_redis_server: RedisServer) -> None:
    own_redis_server.kill()
    address = f"127.0.0.1:{free_port()}"
    environment = clean_environment(STOKER_REDIS__URL=own_redis_server.url, STOKER_METRICS__LISTEN=address)
    exporter = subprocess.Popen([*STOKER, "exporter"], env=environment, stderr=subprocess.PIPE, text=True)

    def scraped() -> str:
        try:
            return httpx.get(f"http://{address}/metrics", timeout=10).text
        except httpx.TransportError:
            return ""

    try:
        assert "stoker_up 0.0" in wait_until(scraped, "the first scrape")
        exporter.send_signal(signal.SIGTERM)
        _, errors = exporter.communicate(timeout=20)
    finally:
        exporter.kill()

    assert exporter.returncode == 0
    assert "Traceback" not in errors
    assert all(json.loads(line)["component"] == "exporter" for line in errors.splitlines())
