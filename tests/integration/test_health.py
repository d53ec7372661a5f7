"""/healthz and /readyz: what they say, and when."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import httpx
import pytest

from stoker.worker.health import HealthServer, loop_alive, redis_reachable, run_check
from stoker.worker.listen import PortTakenError
from tests.servers import RedisServer, free_port


@contextmanager
def loop_in_a_thread() -> Generator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def get(server: HealthServer, page: str) -> httpx.Response:
    return httpx.get(f"{server.url}{page}", timeout=10)


def test_ready_only_while_redis_is(own_redis_server: RedisServer) -> None:
    with HealthServer("127.0.0.1:0", {"redis": redis_reachable(own_redis_server.url)}) as server:
        assert get(server, "/readyz").status_code == 200
        assert get(server, "/readyz").json() == {"ok": True, "checks": {"redis": {"ok": True}}}

        own_redis_server.kill()
        answer = get(server, "/readyz")
        assert answer.status_code == 503
        assert "not reachable" in answer.json()["checks"]["redis"]["reason"]
        assert get(server, "/healthz").status_code == 200


def test_a_frozen_redis_is_no_ready_one(own_redis_server: RedisServer) -> None:
    with HealthServer("127.0.0.1:0", {"redis": redis_reachable(own_redis_server.url)}) as server:
        own_redis_server.freeze()
        answer = get(server, "/readyz")
        own_redis_server.thaw()

    assert answer.status_code == 503


def test_the_reasons_of_all_checks_are_told() -> None:
    def broken() -> str | None:
        raise RuntimeError("redis://:s3cret@cache failed")

    checks = {"good": lambda: None, "bad": lambda: "no read for 9 s", "broken": broken}
    with HealthServer("127.0.0.1:0", checks) as server:
        found = get(server, "/readyz").json()["checks"]

    assert found["good"] == {"ok": True}
    assert found["bad"] == {"ok": False, "reason": "no read for 9 s"}
    assert found["broken"] == {"ok": False, "reason": "RuntimeError: redis://:***@cache failed"}


def test_alive_while_the_loop_takes_its_turns() -> None:
    released = threading.Event()
    with (
        loop_in_a_thread() as loop,
        HealthServer("127.0.0.1:0", {}, alive={"loop": loop_alive(loop)}) as server,
    ):
        assert get(server, "/healthz").status_code == 200

        loop.call_soon_threadsafe(released.wait)
        stuck = get(server, "/healthz")
        released.set()
        assert stuck.status_code == 503
        assert "no answer within" in stuck.json()["checks"]["loop"]["reason"]


def test_a_loop_that_has_ended_is_not_alive() -> None:
    loop = asyncio.new_event_loop()
    loop.close()

    assert asyncio.run(run_check(loop_alive(loop))) == "the event loop does not run"


def test_null_listens_nowhere() -> None:
    with HealthServer(None, {}) as server:
        assert server.url is None


def test_a_taken_port_names_the_option() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(PortTakenError, match=rf"port {port} .* beat\.listen"),
    ):
        HealthServer(f"127.0.0.1:{port}", {}, option="beat.listen").start()


def test_the_port_is_free_again_after_the_stop() -> None:
    address = f"127.0.0.1:{free_port()}"
    for _ in range(2):
        with HealthServer(address, {}) as server:
            assert get(server, "/healthz").json() == {"ok": True, "checks": {}}
