"""What starts and stops beside Celery's parts, when something in it fails or stands still."""

from __future__ import annotations

import asyncio
import logging
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from stoker.core import CacheManager
from stoker.core.maintenance.heartbeat import Heartbeat
from stoker.tasks.runtime import Runtime, runtime_of
from stoker.worker import steps
from stoker.worker.app import create_app
from stoker.worker.config import StokerConfig
from stoker.worker.consumer import EventConsumer
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually, wait_until


def config(server: RedisServer, prefix: str) -> StokerConfig:
    return StokerConfig.model_validate({"prefix": prefix, "redis": {"url": server.url, "timeout": 5}})


async def test_a_worker_whose_cache_fails_at_first_is_told_of_later(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steps, "BEAT_SECONDS", 0.01)
    failures = 0

    class Failing(Runtime):
        async def manager(self) -> CacheManager:
            nonlocal failures
            if failures < 3:
                failures += 1
                raise ValueError("no cache yet")
            return await super().manager()

    given = config(redis_server, prefix)
    runtime = Failing(given)
    consumer = EventConsumer(steps.subscription(given, "w"), runtime.manager)
    telling = asyncio.create_task(steps._tell(runtime, consumer, "w"))
    client = redis_server.client()
    await eventually(lambda: client.exists(f"{prefix}:process:worker:w"), "it is told of")
    assert caplog.messages.count("action=worker_not_told") == 1
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    assert not client.exists(f"{prefix}:process:worker:w")
    await (await runtime.manager()).close()


class Wrong:
    """No mapping."""

    asked = 0

    def keys(self) -> list[str]:
        self.asked += 1
        raise ValueError("no fields")


@pytest.mark.parametrize("turns", range(1, 6))
async def test_a_heartbeat_that_is_given_up_as_it_starts_is_of_no_process(
    redis_server: RedisServer, prefix: str, turns: int
) -> None:
    async with make_manager(redis_server, prefix) as manager:
        starting = asyncio.create_task(Heartbeat(manager, "shop", identity="a").start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert await manager.link.call("EXISTS", manager.keys.process("shop", "a")) == 0


async def test_a_heartbeat_that_fails_is_said_once_and_goes_on(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stoker.core.maintenance.heartbeat.BEAT_SECONDS", 0.01)
    client = redis_server.client()
    async with make_manager(redis_server, prefix) as manager:
        wrong = Wrong()
        details: Any = wrong
        heartbeat = Heartbeat(manager, "shop", identity="a")
        heartbeat.details = details
        with caplog.at_level(logging.ERROR, logger="stoker"):
            await heartbeat.start()
            await eventually(lambda: wrong.asked > 3, "it has failed again and again")
            heartbeat.details = {"port": 1}
            await eventually(lambda: client.exists(f"{prefix}:process:shop:a"), "it is told of")
        assert caplog.messages.count("action=heartbeat_failed") == 1
        await heartbeat.stop()


def test_a_loop_that_stands_still_does_not_hold_up_the_end(
    redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steps, "STOP_SECONDS", 0.05)
    monkeypatch.setattr(steps, "ANSWER_SECONDS", 0.05)
    app = create_app(config(redis_server, prefix))
    timer = SimpleNamespace(call_repeatedly=lambda *_: None)
    step = steps.ConsumerStep(parent := SimpleNamespace(app=app, hostname="w", timer=timer))
    step.start(parent)
    client, go = redis_server.client(), threading.Event()
    wait_until(lambda: client.exists(f"{prefix}:process:worker:w"), "it runs")
    runtime_of(app).loop.loop().call_soon_threadsafe(go.wait, 20)
    try:
        step.stop(parent)
        assert "action=consumer_not_stopped reason=the event loop does not answer" in caplog.messages
    finally:
        go.set()
        step._stopped()
