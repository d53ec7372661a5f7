"""`stoker worker` and `stoker beat` as processes: health pages, a dead server, an orderly end."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker.core import Tag, make_event
from tests.acceptance.nodes import ProcessContainer, RabbitNode, RedisNode
from tests.components import QUIET, Component
from tests.conftest import missing
from tests.servers import RedisServer, free_port
from tests.waiting import wait_until


def ask(port: int, page: str) -> tuple[int, dict[str, Any]]:
    """The status and the answer of a health page; 0 while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, {}


def config(server: RedisServer, **given: Any) -> dict[str, Any]:
    return {
        "prefix": "s",
        "redis": {"url": server.url, "timeout": 5, "connect_timeout": 5},
        "schedule": {"compute_hit_rates": {"every": "1h"}, "cleanup_metrics": {"every": "1h"}},
        **given,
    }


def test_a_worker_through_the_death_of_its_server(own_redis_server: RedisServer, tmp_path: Path) -> None:
    server, port = own_redis_server, free_port()
    given = config(server, worker={**QUIET["worker"], "listen": f"127.0.0.1:{port}"})
    with Component("worker", tmp_path, given) as worker:
        wait_until(lambda: ask(port, "/readyz")[0] == 200, "the worker is ready", timeout=30)
        assert ask(port, "/healthz")[0] == 200
        names = list(server.client().scan_iter("s:process:worker:*"))
        assert len(names) == 1
        assert server.client().hget(names[0], "events_applied") is not None

        server.kill()
        wait_until(lambda: ask(port, "/readyz")[0] == 503, "the worker is not ready without its server")
        checks = ask(port, "/readyz")[1]["checks"]
        assert not checks["redis"]["ok"]
        assert ask(port, "/healthz")[0] == 200, "it need not be started again for that"

        server.start()
        wait_until(lambda: ask(port, "/readyz")[0] == 200, "the worker is ready again", timeout=30)
        client = server.client()
        client.xadd("s:events", {"d": make_event(Tag("a")).pack()})
        wait_until(lambda: "tag" in str(client.xrange("s:log")), "an event is applied")

        assert worker.terminate() == 0
        assert not list(client.scan_iter("s:process:worker:*")), "it has taken itself off the list"


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[ProcessContainer]:
    """A broker beside the caches' own server."""
    if request.param == "rabbitmq" and not shutil.which("rabbitmq-server"):
        missing("rabbitmq-server")
    node = RabbitNode() if request.param == "rabbitmq" else RedisNode()
    try:
        node.ready()
        yield node
    finally:
        node.teardown()


def test_a_worker_through_the_death_of_its_broker(
    own_redis_server: RedisServer, broker: ProcessContainer, tmp_path: Path
) -> None:
    port = free_port()
    given = config(own_redis_server, worker={**QUIET["worker"], "listen": f"127.0.0.1:{port}"})
    given["broker"] = {"url": broker.celeryconfig["url"]}
    component = Component("worker", tmp_path, given)
    component._command += ["--name", "first"]
    with component as worker:
        wait_until(lambda: ask(port, "/readyz")[0] == 200, "the worker is ready", timeout=60)
        assert list(own_redis_server.client().scan_iter("s:process:worker:first@*"))
        broker.kill()
        wait_until(lambda: ask(port, "/readyz")[0] == 503, "it is not ready without its broker")
        checks = ask(port, "/readyz")[1]["checks"]
        assert {name for name, check in checks.items() if not check["ok"]} == {"broker"}
        assert ask(port, "/healthz")[0] == 200, "it need not be started again for that"
        broker.start()
        broker.ready()
        wait_until(lambda: ask(port, "/readyz")[0] == 200, "it is ready again", timeout=60)
        assert worker.terminate() == 0


def test_a_worker_that_can_not_reach_its_server_starts_and_ends_all_the_same(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    own_redis_server.kill()
    port = free_port()
    given = config(own_redis_server, worker={**QUIET["worker"], "listen": f"127.0.0.1:{port}"})
    given["redis"] = {"url": own_redis_server.url}
    with Component("worker", tmp_path, given) as worker:
        wait_until(lambda: ask(port, "/readyz")[0] == 503, "the worker says that it is not ready", timeout=30)
        worker.wait_for("consumer_interrupted")
        assert worker.terminate() == 0


def test_a_wrong_loader_stops_the_worker_at_once(own_redis_server: RedisServer, tmp_path: Path) -> None:
    with Component("worker", tmp_path, config(own_redis_server, loaders=["no.such.module"])) as worker:
        wait_until(lambda: not worker.running, "the worker has ended", timeout=30)
        assert worker.process
        assert worker.process.returncode != 0
        assert "no.such.module" in worker.log.read_text()


def test_a_standby_beat_is_ready(own_redis_server: RedisServer, tmp_path: Path) -> None:
    own_redis_server.client().set("s:beat:leader", "somebody else", px=60_000)
    port = free_port()
    given = config(own_redis_server, beat={"listen": f"127.0.0.1:{port}", "lease": 2})
    with Component("beat", tmp_path, given) as beat:
        wait_until(lambda: ask(port, "/readyz")[0] == 200, "the standby is ready", timeout=30)
        assert ask(port, "/healthz")[0] == 200
        assert not beat.lines("beat_leads")
        own_redis_server.kill()
        wait_until(lambda: ask(port, "/readyz")[0] == 503, "it is not ready without its server")
        assert beat.terminate() == 0
