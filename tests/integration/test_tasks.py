"""The tasks, run by Celery itself in this process, on a real server."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject, Retry

from stoker.core import CacheManager, EventError, Key, loader
from stoker.core.maintenance import sweep as core_sweep
from stoker.core.warming.hotkeys import HotKeys
from stoker.core.warming.runs import recent_runs, totals
from stoker.tasks import sweep as sweep_module
from stoker.tasks.invalidate import NotAcknowledgedError
from stoker.tasks.registry import TASKS
from stoker.tasks.runtime import AsyncTask, Runtime, runtime_of
from stoker.worker.app import create_app
from stoker.worker.config import StokerConfig
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually

ALWAYS_DUE = {"jitter": 0, "warm": {"ahead": 1.0, "min_requests": 0}}


@loader("tests.tasks.item", cache_type="item")
async def load_item(number: int) -> dict[str, int]:
    return {"number": number}


@pytest.fixture
def app(redis_server: RedisServer, prefix: str) -> Iterator[Any]:
    config = StokerConfig.model_validate(
        {
            "prefix": prefix,
            "redis": {"url": redis_server.url, "timeout": 5, "connect_timeout": 5},
            "types": {"item": ALWAYS_DUE},
        }
    )
    made = create_app(config)
    yield made
    runtime_of(made).stop()
    made.close()


def run(app: Any, name: str, **arguments: Any) -> Any:
    """Run a task here as a worker does: traced, with an id."""
    return app.tasks[f"stoker.{name}"].apply(kwargs=arguments, task_id=f"id-{name}", throw=True).get()


async def make_hot(server: RedisServer, prefix: str, *numbers: int) -> None:
    """Let keys be read, and let the fleet know."""
    async with make_manager(server, prefix, item={}) as manager:
        for number in numbers:
            await manager.get_or_load("item", str(number), load_item, number)
        await HotKeys(manager).flush()


def test_warm_loads_hot_keys_again_and_tells_of_it_with_its_trace(
    app: Any, redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(make_hot(redis_server, prefix, 1, 2, 3))
    with caplog.at_level(logging.DEBUG, logger="stoker"):
        outcome = run(app, "warm", cache_type="item")
    assert (outcome["status"], outcome["loaded"]) == ("done", 3)
    actions = [getattr(record, "action", None) for record in caplog.records]
    assert actions.index("warm_started") < actions.index("warmed") < actions.index("warm_done")
    assert "trace=id-warm" in caplog.messages[actions.index("warmed")]


def test_warm_considers_no_more_than_it_is_told(app: Any, redis_server: RedisServer, prefix: str) -> None:
    asyncio.run(make_hot(redis_server, prefix, 1, 2, 3))
    assert run(app, "warm", cache_type="item", limit=1)["loaded"] == 1


def test_two_warm_runs_of_a_type_never_overlap(app: Any, redis_server: RedisServer, prefix: str) -> None:
    asyncio.run(make_hot(redis_server, prefix, 1))
    redis_server.client().set(f"{prefix}:run:warm:lock:item", "another's", px=60_000)
    assert run(app, "warm", cache_type="item")["status"] == "busy"


def test_a_dead_workers_warm_run_is_asked_for_again(app: Any, redis_server: RedisServer, prefix: str) -> None:
    redis_server.client().set(f"{prefix}:run:warm:lock:item", "the dead one's", px=60_000)
    task = app.tasks["stoker.warm"]
    task.push_request(
        id="x", delivery_info={"redelivered": True}, retries=0, args=(), kwargs={"cache_type": "item"},
        called_directly=False, is_eager=False,
    )  # fmt: skip
    try:
        with pytest.raises(Retry):
            task(cache_type="item")
    finally:
        task.pop_request()


def test_hit_rates_and_clean_up(app: Any, redis_server: RedisServer, prefix: str) -> None:
    async def read() -> None:
        async with make_manager(redis_server, prefix, recording=True, item={}) as manager:
            for _ in range(2):
                await manager.get_or_load("item", "1", load_item, 1)

    asyncio.run(read())
    assert run(app, "compute_hit_rates", windows=[60, 300])["rates"] >= 1
    assert redis_server.client().exists(f"{prefix}:rate:item")
    report = run(app, "cleanup_metrics", retention=3600)
    assert report["reason"] == ""
    assert report["scanned"] > 0


async def leave_a_dead_entry(server: RedisServer, prefix: str) -> None:
    async with make_manager(server, prefix, item={}) as manager:
        await manager.set("item", "1", "old")
        await manager.invalidate(Key("item", "1"))


async def sweep_at_once(manager: CacheManager) -> core_sweep.Sweep:
    """The sweep, of a log that is young and short."""
    return await core_sweep.sweep(manager, minimum_age=0, minimum_records=0)


async def recorded(server: RedisServer, prefix: str, job: str) -> tuple[list[dict[str, str]], dict[str, int]]:
    async with make_manager(server, prefix) as manager:
        return [record.fields for record in await recent_runs(manager, job)], await totals(manager, job)


def test_a_sweep_frees_and_is_recorded(
    app: Any, redis_server: RedisServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(app, "sweep")["status"] == "nothing to do"
    monkeypatch.setattr(sweep_module, "sweep", sweep_at_once)
    asyncio.run(leave_a_dead_entry(redis_server, prefix))
    outcome = run(app, "sweep")
    assert (outcome["status"], outcome["unlinked"], outcome["error"]) == ("done", 1, "")
    (newest, _), counted = asyncio.run(recorded(redis_server, prefix, "sweep"))
    assert (newest["status"], newest["unlinked"]) == ("done", "1")
    assert (counted["runs done"], counted["runs nothing to do"], counted["unlinked"]) == (1, 1, 1)


def test_two_sweeps_never_overlap(app: Any, redis_server: RedisServer, prefix: str) -> None:
    redis_server.client().set(f"{prefix}:run:sweep:lock:log", "another's", px=60_000)
    assert run(app, "sweep")["status"] == "busy"
    assert asyncio.run(recorded(redis_server, prefix, "sweep")) == ([], {"runs busy": 1})


def test_a_sweep_whose_lock_was_taken_tells_of_it(
    app: Any, redis_server: RedisServer, prefix: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    async def overtaken(manager: CacheManager) -> core_sweep.Sweep:
        await manager.link.call("SET", manager.keys.run_lock("sweep", "log"), "another's", "PX", 60_000)
        await eventually(lambda: "sweep_lock_lost" in caplog.text, "the loss is told")
        return await sweep_at_once(manager)

    monkeypatch.setattr(sweep_module, "sweep", overtaken)
    assert run(app, "sweep")["error"] == "lock lost"
    (record,), _ = asyncio.run(recorded(redis_server, prefix, "sweep"))
    assert record["error"] == "lock lost"


def test_invalidate_appends_with_the_tasks_id_as_trace(
    app: Any, redis_server: RedisServer, prefix: str
) -> None:
    outcome = run(app, "invalidate", scopes=[{"tag": "a"}], reason="test")
    ((log_id, record),) = [
        item for item in redis_server.client().xrange(f"{prefix}:log") if b"epoch" not in item[1]
    ]
    assert outcome["log_id"] == log_id.decode()
    assert record == {b"tag": b"a", b"_by": b"celery", b"_trace": b"id-invalidate", b"_reason": b"test"}


def test_invalidate_says_what_is_wrong_with_a_scope(app: Any) -> None:
    with pytest.raises(EventError, match="unknown field `tg`"):
        run(app, "invalidate", scopes=[{"tg": "a"}])


def test_invalidate_is_tried_again_until_it_is_acknowledged(
    app: Any, redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    run(app, "invalidate", scopes=[{"tag": "a"}])
    client.delete(f"{prefix}:log")
    client.set(f"{prefix}:log", "in the way", ex=60)
    task = app.tasks["stoker.invalidate"]
    task.push_request(
        id="x", retries=2, args=(), kwargs={"scopes": [{"tag": "b"}]}, called_directly=False, is_eager=False
    )
    try:
        with pytest.raises(Retry) as raised:
            task(scopes=[{"tag": "b"}])
    finally:
        task.pop_request()
        client.delete(f"{prefix}:log")
    assert isinstance(raised.value.exc, NotAcknowledgedError)
    assert raised.value.when == 4
    assert client.llen(f"{prefix}:celery:{prefix}") + client.hlen(f"{prefix}:celery:unacked") == 1


class Endless(AsyncTask):
    """A task that never ends by itself."""

    name = "tests.endless"
    started = threading.Event()
    ended = threading.Event()

    async def run(self) -> dict[str, Any]:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return {}


@pytest.fixture
def endless(app: Any) -> Any:
    Endless.started.clear()
    Endless.ended.clear()
    return app.register_task(Endless())


def test_a_task_ends_at_its_time_limit(endless: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endless, "soft_time_limit", 0.05)
    with pytest.raises(TimeoutError):
        endless.apply(throw=True)
    assert Endless.ended.wait(10)


def test_a_worker_that_stops_hands_its_tasks_back(app: Any, endless: Any) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            endless()
        except Reject as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert Endless.started.wait(10)
    runtime_of(app).leave(0.01)
    thread.join(10)
    assert Endless.ended.is_set()
    assert getattr(raised[0], "requeue", None) is True


def test_the_runtime_connects_once_and_closes(redis_server: RedisServer, prefix: str) -> None:
    runtime = Runtime(StokerConfig.model_validate({"prefix": prefix, "redis": {"url": redis_server.url}}))

    async def both() -> bool:
        first, second = await asyncio.gather(runtime.manager(), runtime.manager())
        return first is second and await first.set("db_query", "1", "x")

    assert runtime.loop.run(both(), 20)
    runtime.stop()
    assert not runtime.loop.running
    runtime.stop()


def test_an_application_without_a_runtime_is_told_of() -> None:
    with pytest.raises(TypeError, match=r"make it with create_app"):
        runtime_of(Celery("other", set_as_current=False))


def test_every_task_is_idempotent_by_its_settings(app: Any) -> None:
    for task_class in TASKS:
        task = app.tasks[task_class.name]
        assert task.acks_late
        assert task.ignore_result
        assert task.soft_time_limit is not None
        assert not task.reject_on_worker_lost
