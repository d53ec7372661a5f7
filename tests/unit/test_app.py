"""The Celery application that a configuration makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stoker.core.errors import ConfigError
from stoker.worker import app as module
from stoker.worker.app import create_app
from stoker.worker.config import StokerConfig
from stoker.worker.steps import consumer_health, subscription
from tests.configuring import write


def make(**given: Any) -> Any:
    return create_app(StokerConfig.model_validate(given))


@pytest.mark.parametrize(
    ("given", "broker", "prefixed"),
    [
        ({"redis": {"url": "redis://cache:1/2"}}, "redis://cache:1/2", True),
        ({"redis": {"url": "unix:///run/redis.sock"}}, "redis+socket:///run/redis.sock", True),
        ({"broker": {"url": "redis://broker:1/0"}}, "redis://broker:1/0", True),
        ({"broker": {"url": "valkeys://broker:1/0"}}, "rediss://broker:1/0", True),
        ({"broker": {"url": "amqp://u:p@rabbit/v"}}, "amqp://u:p@rabbit/v", False),
    ],
)
def test_the_broker_is_the_caches_own_server_unless_one_is_given(
    given: dict[str, Any], broker: str, *, prefixed: bool
) -> None:
    conf = make(prefix="shop", **given).conf
    assert conf.broker_url == broker
    assert conf.broker_transport_options.get("global_keyprefix") == ("shop:celery:" if prefixed else None)
    assert conf.task_default_queue == "shop"


def test_what_proved_itself_is_set() -> None:
    conf = make(worker={"concurrency": 3}).conf
    assert (conf.worker_pool, conf.worker_concurrency, conf.worker_prefetch_multiplier) == ("threads", 3, 1)
    assert (conf.task_acks_late, conf.task_retry_on_worker_lost, conf.task_reject_on_worker_lost) == (
        True,
        True,
        False,
    )
    assert conf.task_ignore_result
    assert conf.result_backend is None
    longest = max(task.soft_time_limit for name, task in make().tasks.items() if name.startswith("stoker."))
    assert conf.broker_transport_options["visibility_timeout"] > 2 * longest


def test_the_schedule_carries_what_the_configuration_says_elsewhere() -> None:
    app = make(metrics={"retention": "2h", "windows": ["1m", "2m"]})
    kwargs = {name: entry["kwargs"] for name, entry in app.conf.beat_schedule.items()}
    assert kwargs["compute_hit_rates"] == {"windows": [60, 120]}
    assert kwargs["cleanup_metrics"] == {"retention": 7200}
    assert kwargs["warm:db_query"] == {"cache_type": "db_query"}
    own = make(schedule={"compute_hit_rates": {"options": {"windows": [5]}}})
    assert own.conf.beat_schedule["compute_hit_rates"]["kwargs"] == {"windows": [5]}


def test_every_entry_of_the_schedule_is_a_task_of_the_application() -> None:
    app = make()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)


def test_two_applications_share_nothing() -> None:
    one, two = make(prefix="one"), make(prefix="two")
    assert one.conf.task_default_queue == "one"
    assert two.tasks["stoker.warm"].app is two
    assert consumer_health(one) is None


def test_events_are_read_from_where_the_configuration_says() -> None:
    ours = subscription(StokerConfig.model_validate({"prefix": "shop"}), "shop@host")
    assert (ours.stream, ours.dead, ours.name) == ("shop:events", "shop:events:dead", "shop@host")
    given = {"stream": "orders", "group": "caches", "batch": 7, "block": "2s"}
    theirs = subscription(StokerConfig.model_validate({"events": given}), "x")
    assert (theirs.stream, theirs.dead, theirs.group) == ("orders", "orders:dead", "caches")
    assert (theirs.batch, theirs.block) == (7, 2)


def test_celerys_own_command_finds_the_application_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOKER_CONFIG", str(write(tmp_path, "prefix: from_file")))
    monkeypatch.delitem(vars(module), "app", raising=False)
    made: Any = module.app
    monkeypatch.delitem(vars(module), "app")
    assert made.conf.task_default_queue == "from_file"
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = module.other
    monkeypatch.setenv("STOKER_CONFIG", str(tmp_path / "missing.yaml"))
    with pytest.raises(ConfigError):
        _ = module.app
