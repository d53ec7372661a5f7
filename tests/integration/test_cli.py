"""The commands of every day, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stoker.core.loading.loaders import loader
from stoker.core.manager import CacheManager
from stoker.core.settings.config import CacheConfig
from stoker.worker.cli import cli
from stoker.worker.health import HealthServer
from tests.commands import run_stoker
from tests.servers import RedisServer, free_port


@loader("cli.product", cache_type="product")
async def load_product(product_id: int) -> dict[str, int]:
    return {"id": product_id}


class Shop:
    """A folder with a configuration, and a server that knows a few products."""

    def __init__(self, folder: Path, url: str, prefix: str) -> None:
        self.folder, self.url, self.prefix = folder, url, prefix
        self.configure()

    def configure(self, extra: str = "") -> None:
        (self.folder / "stoker.yaml").write_text(
            f"prefix: {self.prefix}\ntypes: {{product: {{ttl: 60s}}}}\n{extra}"
        )

    def run(self, *arguments: str, **environment: str) -> Result:
        """Run a command within this process: an import of everything takes its time."""
        configured = {name for name in os.environ if name.startswith(("STOKER_", "REDIS_", "CACHE_"))}
        variables = {**dict.fromkeys(configured), "STOKER_REDIS__URL": self.url, **environment}
        return CliRunner().invoke(cli, arguments, env=variables)

    def run_alone(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a process of its own."""
        return run_stoker(*arguments, url=self.url, folder=self.folder)

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def do(self, work: Callable[[CacheManager], Awaitable[object]]) -> None:
        """Do something with the cache, as a service would."""

        async def within() -> None:
            config = CacheConfig.model_validate(
                {
                    "prefix": self.prefix,
                    "redis": {"url": self.url, "timeout": "5s"},
                    "types": {"product": {"ttl": "60s"}},
                }
            )
            async with CacheManager(config) as manager:
                await work(manager)

        asyncio.run(within())

    def fill(self, count: int = 3) -> None:
        async def work(manager: CacheManager) -> None:
            for number in range(count):
                await manager.set("product", str(number), {"id": number}, tags=[f"category:{number % 2}"])

        self.do(work)


@pytest.fixture
def shop(tmp_path: Path, redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path, redis_server.url, prefix)


def test_invalidate_says_what_it_would_hit_and_changes_nothing(shop: Shop) -> None:
    shop.fill(3)

    assert shop.json("invalidate", "product:1", "--dry-run")["would_hit"] == 1
    assert shop.json("invalidate", "--tag", "category:0", "--dry-run")["would_hit"] == 2
    assert shop.json("invalidate", "--type", "product", "--dry-run")["would_hit"] == 3
    assert shop.json("invalidate", "--pattern", "product:[12]", "--dry-run")["would_hit"] == 2
    assert shop.json("invalidate", "--everything", "--dry-run")["would_hit"] == 3
    assert (
        "would hit  2 entries: tag category:0"
        in shop.run("invalidate", "--tag", "category:0", "--dry-run").stdout
    )
    assert shop.json("explain", "product", "0")["state"] == "fresh"


def test_invalidate_kills_and_explain_tells_by_which_record(shop: Shop) -> None:
    shop.fill(3)

    receipt = shop.json("invalidate", "--tag", "category:0", "--reason", "prices")
    found = shop.json("explain", "product", "2")

    assert receipt["acknowledged"]
    assert found["state"] == "dead"
    assert found["killed_by"]["log_id"] == receipt["log_id"]
    assert found["killed_by"]["notes"]["reason"] == "prices"
    assert found["killed_by"]["notes"]["by"].startswith("cli:")
    assert shop.json("explain", "product", "1")["state"] == "fresh"
    shown = shop.run("explain", "product", "2").stdout
    assert "dead  invalidated by record" in shown
    assert receipt["log_id"] in shown


def test_explain_shows_the_value_only_when_asked(shop: Shop) -> None:
    shop.fill(1)

    assert "'id': 0" not in shop.run("explain", "product", "0").stdout
    assert "'id': 0" in shop.run("explain", "product", "0", "--value").stdout
    assert "value" not in shop.json("explain", "product", "0")
    assert shop.json("explain", "product", "7")["state"] == "absent"


def test_stats_hot_and_warm_follow_the_traffic(shop: Shop) -> None:
    async def traffic(manager: CacheManager) -> None:
        for number in (1, 1, 1, 2):
            await manager.get_or_load("product", str(number), load_product, number)

    shop.do(traffic)

    found = shop.json("stats")["types"]["product"]
    assert found["entries"] == 2
    assert found["hit_rates"]["300"] == {"hits": 2, "misses": 2, "rate": 0.5}
    assert "50.0 %" in shop.run("stats").stdout

    hottest = shop.json("hot", "product")
    assert [item["key"] for item in hottest] == ["1", "2"]
    assert {item["loader"] for item in hottest} == {"cli.product"}

    shop.run("invalidate", "product:1")
    run = shop.json("warm", "product")
    assert (run["status"], run["loaded"], run["failed"]) == ("done", 1, 0)
    assert shop.json("explain", "product", "1")["state"] == "fresh"
    assert shop.json("stats")["types"]["product"]["last_warm_run"]["loaded"] == "1"


def test_pause_and_resume(shop: Shop) -> None:
    assert shop.run("pause", "product", "--reason", "source is slow").exit_code == 0
    assert shop.json("stats")["types"]["product"]["paused"] == "source is slow"
    refused = shop.run("warm", "product")
    assert refused.exit_code == 2
    assert "its warming is paused" in refused.stderr

    assert shop.run("resume").stdout == "resumed  product\n"
    assert shop.run("resume").stdout == "nothing was paused\n"
    assert shop.run("warm", "product").exit_code == 0


def test_pause_without_a_name_pauses_all_that_are_warmed(shop: Shop) -> None:
    shop.run("pause")

    stopped = {name for name, found in shop.json("stats")["types"].items() if found["paused"]}
    shop.run("resume")
    assert stopped == {"db_query", "llm_response", "product", "stt_transcription", "tts_synthesis"}


def test_config_show_tells_where_each_value_came_from(shop: Shop) -> None:
    shown = shop.json("config", "show", "types.product")
    assert shown["types.product.ttl"] == {"value": 60.0, "origin": "file", "from": "stoker.yaml:2"}
    assert shown["types.product.jitter"]["origin"] == "default"

    done = shop.run("config", "show", "redis.url", STOKER_REDIS__URL="redis://app:s3cret@cache/0")
    assert "redis://app:***@cache/0" in done.stdout
    assert "STOKER_REDIS__URL" in done.stdout
    assert shop.run("config", "show", "nothing").exit_code == 2


def test_config_check(shop: Shop) -> None:
    assert "ok  stoker.yaml" in shop.run("config", "check").stdout

    shop.configure("broken: 1\n")
    done = shop.run("config", "check")
    assert done.exit_code == 2
    assert "stoker.yaml:3" in done.stderr
    assert "Traceback" not in done.stderr


def test_config_check_looks_at_the_schedule_and_the_loaders(shop: Shop) -> None:
    (shop.folder / "broken_loaders.py").write_text("raise RuntimeError('first line\\nsecond line')\n")
    shop.configure(
        "loaders: [broken_loaders, no_such_module]\n"
        "schedule: {x: {task: warm, every: 1h, options: {type: prodcut}}}\n"
    )

    done = shop.run_alone("config", "check")

    assert done.returncode == 2
    assert done.stdout == ""
    schedule, broken, missing = done.stderr.splitlines()
    assert schedule.startswith("error: schedule.x: ")
    assert "did you mean 'product'?" in schedule
    assert "can't import 'broken_loaders': RuntimeError: first line second line" in broken
    assert "can't import 'no_such_module'" in missing
    assert "stoker doctor" in shop.run("config", "check", "--help").stdout


def test_config_schema_is_json(shop: Shop) -> None:
    assert json.loads(shop.run("config", "schema").stdout)["properties"]["types"]


def test_schedule(shop: Shop) -> None:
    shop.configure("schedule: {nightly: {task: warm, cron: '0 3 * * *', options: {type: product}}}\n")
    shown = shop.json("schedule", "show", "--runs", "2")
    assert shown["nightly"]["rule"] == "cron 0 3 * * *"
    assert all("T03:00:00" in moment for moment in shown["nightly"]["next"])
    assert "cron 0 3 * * *" in shop.run("schedule", "show").stdout
    assert shop.run("schedule", "check").exit_code == 0

    shop.configure("schedule: {nightly: {task: warm, every: 1h, options: {type: prodcut}}}\n")
    done = shop.run("schedule", "check")
    assert done.exit_code == 1
    assert "did you mean 'product'?" in done.stdout


def test_doctor_finds_nothing_wrong_and_writes_nothing(shop: Shop, redis_server: RedisServer) -> None:
    done = shop.run("doctor")

    assert done.exit_code == 0, done.stdout
    assert "0 wrong" in done.stdout
    with redis_server.client() as client:
        assert list(client.scan_iter(match=f"{shop.prefix}:*")) == []


def test_doctor_says_what_to_do(shop: Shop, own_redis_server: RedisServer) -> None:
    shop.url = own_redis_server.url
    with own_redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    shop.configure(
        "loaders: [no_such_module]\nschedule: {x: {task: warm, every: 1h, options: {type: nothing}}}\n"
    )

    done = shop.run("doctor", "--json")

    wrong = {item["about"]: item for item in json.loads(done.stdout) if item["severity"] == "error"}
    assert done.exit_code == 1
    assert set(wrong) == {"loaders", "schedule.x", "eviction"}
    assert "noeviction" in wrong["eviction"]["remedy"]


def test_doctor_without_a_server(shop: Shop) -> None:
    shop.url = f"redis://:s3cret@127.0.0.1:{free_port()}/0"

    done = shop.run("doctor")

    assert done.exit_code == 1
    assert "does not answer" in done.stdout
    assert "s3cret" not in done.stdout


@pytest.mark.parametrize(
    "command", [("stats",), ("hot", "product"), ("warm", "product"), ("pause",), ("invalidate", "product:1")]
)
def test_without_a_server_there_is_one_clear_line(shop: Shop, command: tuple[str, ...]) -> None:
    shop.url = f"redis://:s3cret@127.0.0.1:{free_port()}/0"

    done = shop.run(*command)

    assert done.exit_code == 2
    assert_one_clear_line(done.stdout, done.stderr)


def test_as_a_process_of_its_own_too(shop: Shop) -> None:
    shop.fill(2)
    done = shop.run_alone("invalidate", "--type", "product", "--dry-run")
    assert (done.returncode, done.stdout, done.stderr) == (0, "would hit  2 entries: type product\n", "")

    shop.url = f"redis://:s3cret@127.0.0.1:{free_port()}/0"
    done = shop.run_alone("stats")
    assert done.returncode == 2
    assert_one_clear_line(done.stdout, done.stderr)


def assert_one_clear_line(stdout: str, stderr: str) -> None:
    last = stderr.splitlines()[-1]
    assert last.startswith("error: redis://:***@127.0.0.1:")
    assert "is not reachable" in last
    assert "Traceback" not in stderr
    assert "s3cret" not in stderr + stdout


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("invalidate",), "nothing to invalidate"),
        (("invalidate", "product"), "write TYPE:KEY"),
        (("invalidate", "prodcut:1"), "prodcut"),
        (("hot", "nothing"), "no cache type"),
        (("explain", "nothing", "1"), "no cache type"),
        (("health", "127.0.0.1"), "http://"),
    ],
)
def test_wrong_arguments_are_told(shop: Shop, command: tuple[str, ...], told: str) -> None:
    done = shop.run(*command)

    assert done.exit_code == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_health_for_containers(shop: Shop) -> None:
    with HealthServer("127.0.0.1:0", {"redis": lambda: "gone", "consumer": lambda: None}) as server:
        assert shop.run("health", f"{server.url}/healthz").stdout == "ok\n"
        sick = shop.run("health", f"{server.url}/readyz")
        assert sick.exit_code == 1
        assert "503 (redis: gone)" in sick.stderr

    nobody = shop.run("health", f"http://127.0.0.1:{free_port()}/healthz")
    assert nobody.exit_code == 1
    assert "refused" in nobody.stderr
