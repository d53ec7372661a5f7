"""A worker is killed in the middle of a task: what happens to the work, on either broker."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestWorker,
    CeleryWorkerCluster,
    RabbitMQTestBroker,
    RedisTestBroker,
)

from stoker.core import CacheConfig, CacheManager
from stoker.core.warming.hotkeys import HotKeys
from stoker.worker.app import create_app
from stoker.worker.config import StokerConfig
from tests.acceptance.items import ITEMS_URL, load_item
from tests.acceptance.nodes import RabbitNode, RedisNode, WorkerNode
from tests.components import QUIET, Component
from tests.conftest import missing
from tests.servers import RedisServer
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def items_url(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ITEMS_URL, redis_server.url)


@pytest.fixture(scope="module")
def celery_broker_cluster(request: pytest.FixtureRequest) -> Iterator[CeleryBrokerCluster]:
    """One broker of each kind for all tests: each test has a queue of its own."""
    if request.param == "rabbitmq" and not shutil.which("rabbitmq-server"):
        missing("rabbitmq-server")
    container: Any = RabbitNode() if request.param == "rabbitmq" else RedisNode()
    node = RabbitMQTestBroker(container) if request.param == "rabbitmq" else RedisTestBroker(container)
    try:
        node.ready()
        yield CeleryBrokerCluster(node)
    finally:
        node.teardown()


@pytest.fixture
def celery_backend_cluster() -> None:
    """Stoker needs no result backend."""


@pytest.fixture
def stoker_config(
    celery_broker_cluster: CeleryBrokerCluster, redis_server: RedisServer, prefix: str
) -> dict[str, Any]:
    """What the worker's file says."""
    return {
        **QUIET,
        "prefix": prefix,
        "redis": {"url": redis_server.url, "timeout": 5, "connect_timeout": 5},
        "broker": {"url": celery_broker_cluster[0].config()["url"]},
        "types": {"item": {"jitter": 0, "warm": {"ahead": 1.0, "min_requests": 0}}},
        "loaders": ["tests.acceptance.items"],
        "schedule": {"warm": {"every": "1s"}},
    }


@pytest.fixture
def celery_worker_cluster(
    request: pytest.FixtureRequest, stoker_config: dict[str, Any]
) -> Iterator[CeleryWorkerCluster]:
    how = getattr(request, "param", "stoker")
    container: Any = WorkerNode(stoker_config, celery_command=how == "celery")
    app: Any = None  # the setup hands it its own
    node = CeleryTestWorker(container, app)
    try:
        node.ready()
        yield CeleryWorkerCluster(node)
    finally:
        node.teardown()


@pytest.fixture
def celery_setup_app(stoker_config: dict[str, Any]) -> Iterator[Any]:
    app = create_app(StokerConfig.model_validate(stoker_config))
    yield app
    app.close()


@pytest.fixture
def items(redis_server: RedisServer, prefix: str) -> Items:
    return Items(redis_server, prefix)


class Items:
    """The loads that a test holds up."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.server = server
        self.client = server.client()
        self.prefix = prefix
        self.channel = f"items-{prefix}"

    def make_hot(self, number: int) -> None:
        """Let a service read an item, and let the fleet know that it is hot."""

        async def read() -> None:
            config = CacheConfig.model_validate(
                {
                    "prefix": self.prefix,
                    "redis": {"url": self.server.url, "timeout": 5, "connect_timeout": 5},
                    "types": {"item": {}},
                }
            )
            async with CacheManager(config, recording=False) as manager:
                await manager.get_or_load("item", str(number), load_item, self.channel, number)
                await HotKeys(manager).flush()

        self.let_go()
        asyncio.run(read())
        self.client.delete(*(f"{self.channel}:{name}" for name in ("go", "begun", "ended")))

    def let_go(self) -> None:
        self.client.set(f"{self.channel}:go", 1)

    def count(self, what: str) -> int:
        """How many loads have `begun`, or `ended`."""
        return int(self.client.llen(f"{self.channel}:{what}"))

    def finished_runs(self) -> list[dict[bytes, bytes]]:
        """Records of warm runs that loaded the item."""
        ids = self.client.lrange(f"{self.prefix}:runs:warm", 0, -1)
        runs = [self.client.hgetall(f"{self.prefix}:run:warm:{run.decode()}") for run in ids]
        return [run for run in runs if run.get(b"loaded") == b"1"]


def tags(client: Any, prefix: str) -> set[str]:
    return {fields[b"tag"].decode() for _, fields in client.xrange(f"{prefix}:log") if b"tag" in fields}


@pytest.mark.rabbitmq
@pytest.mark.parametrize("celery_broker_cluster", ["rabbitmq"], indirect=True)
class TestOnRabbitMQ:
    def test_a_warm_run_is_done_once_more(self, celery_setup: Any, items: Items) -> None:
        items.make_hot(7)
        celery_setup.app.tasks["stoker.warm"].delay(cache_type="item")
        wait_until(lambda: items.count("begun") == 1, "the worker is in the middle of the task")
        celery_setup.worker.kill()
        assert celery_setup.worker.container.status == "exited"
        assert items.count("ended") == 0
        items.let_go()

        celery_setup.worker.restart()
        wait_until(lambda: items.count("ended") == 1, "the work is done once more", timeout=60)
        wait_until(items.finished_runs, "and recorded")
        assert items.count("begun") == 2
        wait_until(lambda: messages(celery_setup.app) == 0, "nothing waits")
        celery_setup.worker.kill("SIGTERM")
        assert messages(celery_setup.app) == 0, "and nothing comes back"
        assert items.count("ended") == 1

    def test_no_invalidation_is_lost(
        self, celery_setup: Any, items: Items, redis_server: RedisServer
    ) -> None:
        client, total = redis_server.client(), 300
        invalidate = celery_setup.app.tasks["stoker.invalidate"]
        for number in range(total):
            invalidate.delay(scopes=[{"tag": f"t{number}"}])
        wait_until(lambda: tags(client, items.prefix), "the worker is in the middle of them")
        celery_setup.worker.kill()
        assert len(tags(client, items.prefix)) < total
        celery_setup.worker.restart()
        wait_until(
            lambda: len(tags(client, items.prefix)) == total, "all of them stand in the log", timeout=60
        )


@pytest.mark.parametrize("celery_broker_cluster", ["redis"], indirect=True)
class TestOnRedis:
    def test_the_next_beat_covers_a_killed_warm_run(
        self, celery_setup: Any, items: Items, stoker_config: dict[str, Any], tmp_path: Path
    ) -> None:
        items.make_hot(7)
        with Component("beat", tmp_path, stoker_config) as beat:
            wait_until(
                lambda: items.count("begun") == 1, "the worker is in the middle of the task", timeout=30
            )
            celery_setup.worker.kill()
            items.let_go()
            celery_setup.worker.restart()
            wait_until(items.finished_runs, "a later run has done the work", timeout=60)
            assert beat.terminate() == 0

    @pytest.mark.parametrize("celery_worker_cluster", ["celery"], indirect=True)
    def test_celerys_own_command_runs_the_same_worker(
        self, celery_setup: Any, items: Items, redis_server: RedisServer
    ) -> None:
        assert celery_setup.ready(control=True, docker=True)
        celery_setup.app.tasks["stoker.invalidate"].delay(scopes=[{"tag": "a"}])
        wait_until(lambda: tags(redis_server.client(), items.prefix) == {"a"}, "applied")
        assert ".> concurrency: 2 (thread)" in celery_setup.worker.logs()

    def test_a_worker_that_is_told_to_stop_hands_its_task_back(self, celery_setup: Any, items: Items) -> None:
        items.make_hot(7)
        celery_setup.app.tasks["stoker.warm"].delay(cache_type="item")
        wait_until(lambda: items.count("begun") == 1, "the worker is in the middle of the task")
        celery_setup.worker.container.process.terminate()
        assert celery_setup.worker.container.process.wait(10) == 0
        items.let_go()
        celery_setup.worker.restart()
        wait_until(items.finished_runs, "the work is done after all", timeout=60)


def messages(app: Any) -> int:
    """Messages that wait in the application's queue on RabbitMQ."""
    with app.connection_for_write() as connection:
        queue = connection.default_channel.queue_declare(app.conf.task_default_queue, passive=True)
        return int(queue.message_count)
