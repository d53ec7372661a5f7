"""Replays: against stand-ins that keep and break the promise, and against the real shop."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from examples.shop.replayer import Plan, Replay, ReplayError
from examples.shop.trace import zipf

from stoker.core import CacheConfig, CacheManager
from stoker.core.settings.config import RedisConfig
from stoker.worker.consumer import EventConsumer, Subscription
from tests.integration.shop.shops import ROOT, pretend_shop, real_shop
from tests.servers import RedisServer, free_port
from tests.waiting import eventually, wait_until

CONFIG = """
types:
  product: {ttl: 60s}
  category: {ttl: 60s}
loaders: [examples.shop.loaders]
redis: {timeout: 5s}
"""


@asynccontextmanager
async def consumer(url: str, prefix: str) -> AsyncGenerator[EventConsumer, None]:
    """The worker's own consumer of events, on this loop."""
    async with CacheManager(CacheConfig(prefix=prefix, redis=RedisConfig(url=url)), recording=False) as cache:

        async def manager() -> CacheManager:
            return cache

        subscription = Subscription(url, cache.keys.events, cache.keys.dead_events)
        running = EventConsumer(subscription, manager)
        task = asyncio.create_task(running.run())
        try:
            yield running
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def traffic(url: str, requests: int, *, rate: float = 200, writes: float = 0) -> Plan:
    products = itertools.islice(zipf(1.0, 20), requests)
    return Plan(url=url, products=products, rate=rate, writes=writes, timeout=30)


async def test_a_shop_that_misses_its_invalidations_is_found_out(
    redis_server: RedisServer, prefix: str
) -> None:
    async with pretend_shop(redis_server.url, prefix, forgetful=True) as url:
        report = await Replay(traffic(url, 400, writes=20)).run()

    assert report["writes"]["seen_in_log"] == report["writes"]["sent"] > 0
    assert report["stale_after_applied"] > 0
    assert "was applied" in report["stale_examples"][0]


async def test_a_shop_that_keeps_its_word_is_not(redis_server: RedisServer, prefix: str) -> None:
    async with pretend_shop(redis_server.url, prefix, forgetful=False) as url:
        report = await Replay(traffic(url, 400, writes=20)).run()

    assert (report["requests"], report["errors"], report["reads_judged"]) == (400, 0, 400)
    assert report["stale_after_applied"] == report["stale_before_applied"] == 0
    assert report["writes"]["not_seen_in_log"] == 0
    assert report["hits"] + report["misses"] == 400
    assert report["loads"]["reader"] > 0


async def test_a_replay_that_waits_for_its_shop_ends_when_asked() -> None:
    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await over.wait()
        writer.close()

    asked, over = asyncio.Event(), asyncio.Event()
    async with await asyncio.start_server(never, "127.0.0.1", 0) as server:
        replay = Replay(
            Plan(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", zipf(1.0, 20), endless=True)
        )
        running = asyncio.create_task(replay.run())
        await asked.wait()
        replay.stopping.set()
        with pytest.raises(ReplayError, match="stopped while waiting for the shop"):
            await running
        over.set()


async def test_the_replay_ends_early_when_asked(redis_server: RedisServer, prefix: str) -> None:
    async with pretend_shop(redis_server.url, prefix, forgetful=False) as url:
        replay = Replay(traffic(url, 1_000_000, writes=5))
        running = asyncio.create_task(replay.run())
        await eventually(lambda: replay.tally.requests >= 10, "ten requests")
        replay.stopping.set()
        report = await running

    assert 10 <= report["requests"] < 1_000_000


async def test_warm_up_is_left_out_of_the_counts_but_not_of_the_judgement(
    redis_server: RedisServer, prefix: str
) -> None:
    async with pretend_shop(redis_server.url, prefix, forgetful=False) as url:
        plan = Plan(url=url, products=itertools.islice(zipf(1.0, 5), 100), rate=200, warmup=0.25)
        report = await Replay(plan).run()

    assert report["requests"] == 50
    assert report["cold_misses"] == 0
    assert report["reads_judged"] == 100


async def test_without_a_shop_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.shop.replayer.SHOP_SECONDS", 0.0)
    with pytest.raises(ReplayError, match="scripts/up"):
        await Replay(traffic(f"http://127.0.0.1:{free_port()}", 10)).run()


async def test_no_read_of_the_real_shop_is_stale_after_its_event_was_applied(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    with real_shop(redis_server.url, prefix, tmp_path, CONFIG) as url:
        async with consumer(redis_server.url, prefix):
            report = await Replay(traffic(url, 500, rate=100, writes=25)).run()

    assert report["error_reasons"] == {}, report
    assert report["hit_rate"] > 0.2
    assert report["expiry_misses"] == 0
    assert report["loads"]["reader"] > 0
    assert report["writes"]["seen_in_log"] == report["writes"]["sent"] > 0
    assert report["writes"]["publication_to_log_ms"]["p50"] >= 0
    assert report["reads_judged"] == 500
    assert report["reads_judged_after_write"] > 0
    assert report["stale_after_applied"] == 0, report["stale_examples"]


async def test_the_shop_answers_while_its_redis_is_gone_and_tells_it_later(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    with real_shop(own_redis_server.url, "outage", tmp_path, CONFIG) as url:
        async with consumer(own_redis_server.url, "outage"):
            replay = Replay(traffic(url, 500, rate=80, writes=20))
            running = asyncio.create_task(replay.run())
            await eventually(lambda: replay.tally.recorded >= 10, "ten writes are applied")
            own_redis_server.kill()
            await eventually(lambda: replay.tally.unpublished, "a write that could not be published")
            own_redis_server.start()
            report = await running

    assert report["error_reasons"] == {}, report
    assert report["writes"]["published_later"] > 0
    assert report["stale_after_applied"] == 0, report["stale_examples"]
    # What was on its way when the server was killed is lost with all that it could have made stale.
    assert report["writes"]["not_seen_in_log"] < report["writes"]["sent"] / 2


def test_the_command_reports_json_and_fails_on_stale_reads(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    with real_shop(redis_server.url, prefix, tmp_path, CONFIG) as url:
        command = [sys.executable, "-m", "examples.shop.replay", "--url", url, "--requests", "50", "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["requests"] == 50


def test_endless_traffic_waits_for_its_shop_and_ends_when_asked(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    with real_shop(redis_server.url, prefix, tmp_path, CONFIG) as url:
        command = [sys.executable, "-m", "examples.shop.replay", "--url", url, "--endless", "--writes", "1"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            wait_until(lambda: reader_loads(url) > 0, "somebody reads")
            process.terminate()
            output, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert "stale after applied      0" in output


def reader_loads(url: str) -> int:
    with urllib.request.urlopen(f"{url}/stats", timeout=5) as answer:
        return int(json.load(answer)["loads"]["reader"])
