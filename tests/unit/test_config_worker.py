"""The worker's sections of stoker.yaml, and the schedule over the default one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.schedules.check import check
from stoker.schedules.model import ScheduleEntry
from stoker.schedules.plan import default_entries, plan
from stoker.worker.config import StokerConfig
from tests.configuring import load, problems


def test_the_defaults() -> None:
    config = StokerConfig()

    assert config.broker.url is None
    assert (config.worker.concurrency, config.worker.listen) == (8, "127.0.0.1:9541")
    assert (config.beat.listen, config.beat.lease) == ("127.0.0.1:9542", 10)
    assert config.schedule == dict(default_entries())
    assert (config.events.stream, config.events.group) == (None, "stoker")
    assert (config.events.batch, config.events.block) == (500, 1)
    assert (config.metrics.listen, config.metrics.retention) == ("127.0.0.1:9540", 86400)
    assert config.metrics.windows == [60, 300, 3600]
    assert (config.up.data, config.up.processes) == (".stoker", {})
    assert (config.logs.format, config.logs.level) == ("auto", "info")


def test_everything_that_listens_does_so_on_this_machine_alone() -> None:
    config = StokerConfig()

    for listen in (config.worker.listen, config.beat.listen, config.metrics.listen):
        assert listen is not None
        assert listen.startswith("127.0.0.1:")


def test_single_fields_of_a_default_entry_can_be_changed(tmp_path: Path) -> None:
    config = load(tmp_path, "schedule: {warm: {every: 9s}, cleanup_metrics: {enabled: false}}").value

    default = default_entries()
    assert config.schedule["warm"] == default["warm"].model_copy(update={"every": 9.0})
    assert config.schedule["cleanup_metrics"] == default["cleanup_metrics"].model_copy(
        update={"enabled": False}
    )
    assert config.schedule["compute_hit_rates"] == default["compute_hit_rates"]
    assert "cleanup_metrics" not in plan(config)
    assert plan(config)["warm:db_query"].every == 9


def test_cron_takes_the_place_of_the_defaults_interval(tmp_path: Path) -> None:
    config = load(tmp_path, 'schedule: {compute_hit_rates: {cron: "*/5 * * * *"}}').value

    entry = config.schedule["compute_hit_rates"]
    assert (entry.every, entry.cron, entry.jitter) == (None, "*/5 * * * *", 0)


def test_a_shorter_interval_than_the_defaults_jitter_is_right(tmp_path: Path) -> None:
    text = "compute_hit_rates: {every: 500ms}, sweep: {every: 2m, jitter: 3s}, cleanup_metrics: {expires: 1m}"
    schedule = load(tmp_path, f"schedule: {{{text}}}").value.schedule

    assert (schedule["compute_hit_rates"].every, schedule["compute_hit_rates"].jitter) == (0.5, 0)
    assert schedule["sweep"].jitter == 3
    assert schedule["cleanup_metrics"].jitter == 1, "the default interval keeps its own"


def test_another_task_under_a_defaults_name_is_another_entry(tmp_path: Path) -> None:
    config = load(tmp_path, "schedule: {warm: {task: cleanup_metrics, every: 1h}}").value

    assert config.schedule["warm"] == ScheduleEntry(task="cleanup_metrics", every=3600)


def test_an_entry_of_ones_own(tmp_path: Path) -> None:
    text = (
        "types: {product: }\nschedule: {warm-products: {task: warm, every: 2s, options: {type: product}}}\n"
    )

    config = load(tmp_path, text).value

    assert config.schedule["warm-products"].options == {"type": "product"}
    assert set(config.schedule) == {*default_entries(), "warm-products"}
    assert not check(config)


def test_options_are_laid_over_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, "schedule: {warm: {options: {limit: 5}}}").value

    assert config.schedule["warm"].options == {"type": "*", "limit": 5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schedule: {a: {every: 1s}}", "schedule.a.task: must be given, as warm, cleanup_metrics, "),
        ("schedule: {a: {task: wram, every: 1s}}", "schedule.a.task: 'wram' is not allowed: give warm, "),
        ("schedule: {a: {task: warm}}", "schedule.a: give exactly one of `every` (e.g. 30s) and `cron`"),
        ("schedule: {warm: {every: 1s, cron: '* * * * *'}}", "schedule.warm: give exactly one of `every`"),
        ("schedule: {a: {task: warm, cron: '* * *'}}", "schedule.a.cron: a cron line has 5 fields"),
        ("schedule: {a: {task: warm, cron: '99 * * * *'}}", "schedule.a.cron: minute: 99 is not within 0-59"),
        ("schedule: {a: {task: warm, every: -1s}}", "schedule.a.every: '-1s' is not allowed: give seconds"),
        (
            "schedule: {a: {task: warm, every: 1s, enabled: 5}}",
            "schedule.a.enabled: 5 is not allowed: give true or false",
        ),
        (
            "schedule: {a: {task: warm, every: 1s, options: []}}",
            "schedule.a.options: a list is not allowed: give `name: value` lines",
        ),
        ("schedule: [warm]", "schedule: a list is not allowed: give `name: value` lines"),
        ("schedule: {a: 5s}", "schedule.a: '5s' is not allowed: give the fields task, every, "),
        (
            "worker: {concurrency: 0}",
            "worker.concurrency: 0 is not allowed: give a whole number from 1 up to 256",
        ),
        ("worker: {listen: 9541}", "worker.listen: 9541 is not allowed: give a text or null"),
        ("worker: {listen: ':9541'}", "worker.listen: ':9541' is no address to listen on: write host:port"),
        ("worker: {listen: localhost}", "worker.listen: 'localhost' is no address to listen on"),
        ("worker: {listen: '::1:80'}", "worker.listen: '::1:80' is no address"),
        ("metrics: {listen: 'localhost:99999'}", "metrics.listen: 'localhost:99999' is no address"),
        (
            "beat: {lease: 0.5}",
            (
                "beat.lease: 0.5 is not allowed: give seconds, or a text like 250ms, 30s, 5m, 2h, 1d, "
                "from 1 up to 3600"
            ),
        ),
        (
            "broker: {url: 'http://h'}",
            "broker.url: 'http://h' is no URL of a kind that is known here: amqp://",
        ),
        (
            "broker: {url: 'memory://'}",
            "broker.url: 'memory://' is no URL of a kind that is known here: amqp://",
        ),
        ("broker: {url: 'amqp://'}", "broker.url: 'amqp://' names no host"),
        ("broker: {url: 'redis://h/x'}", "broker.url: 'redis://h/x': the database is a number"),
        ("events: {batch: 0}", "events.batch: 0 is not allowed: give a whole number from 1 up to 10000"),
        ("events: {block: 0s}", "events.block: '0s' is not allowed"),
        ("events: {group: a b}", "events.group: 'a b' is no name for this"),
        ("events: {stream: ''}", "events.stream: '' is no name for this"),
        ("metrics: {windows: []}", "metrics.windows: 0 lengths of time are given: give 1 to 16, as in ["),
        (f"metrics: {{windows: {[60] * 17}}}", "metrics.windows: 17 lengths of time are given: give 1 to 16"),
        ("metrics: {windows: [1m, soon]}", "metrics.windows[1]: 'soon' is not allowed: give seconds"),
        ("metrics: {windows: [true]}", "metrics.windows[0]: true is not allowed: give seconds"),
        ("metrics: {retention: 10s}", "metrics.retention: '10s' is not allowed"),
        ("up: {data: ''}", "up.data: '' is not allowed: give a text"),
        ("up: {processes: {shop: }}", "up.processes.shop.command: must be given, as a text"),
        (
            "up: {processes: {shop: {command: ''}}}",
            "up.processes.shop.command: a command line must name a program",
        ),
        (
            "up: {processes: {shop: {command: 'a \"b'}}}",
            "up.processes.shop.command: no command line: no closing quotation",
        ),
        (
            "up: {processes: {shop: {command: a, ready: 'https://h/'}}}",
            "up.processes.shop.ready: 'https://h/' is no URL",
        ),
        (
            "up: {processes: {shop: {command: a, ready: 'http://x:abc/'}}}",
            "up.processes.shop.ready: 'http://x:abc/' is no URL: write http://127.0.0.1:8000/",
        ),
        (
            "broker: {url: 'amqp://h:abc'}",
            "broker.url: 'amqp://h:abc' is no URL: write amqp://user:password@",
        ),
        ("up: {processes: {a b: {command: a}}}", "up.processes.a b: 'a b' can't name a process"),
        *(
            (
                f"up: {{processes: {{{name}: {{command: a}}}}}}",
                f"up.processes.{name}: {name} is the name of a part of Stoker: choose another",
            )
            for name in ("server", "worker", "beat", "exporter", "stoker")
        ),
        ("logs: {format: xml}", "logs.format: 'xml' is not allowed: give auto, console or json"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, said: str) -> None:
    (line,) = problems(tmp_path, f"\n{text}\n")

    assert line.startswith(f"stoker.yaml:2: {said}")


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "[::1]:9540", "0.0.0.0:80", "localhost:65535", "my-host.example:1"]
)
def test_addresses_to_listen_on(tmp_path: Path, listen: str) -> None:
    assert load(tmp_path, f"metrics: {{listen: '{listen}'}}").value.metrics.listen == listen


@pytest.mark.parametrize(
    "url",
    [
        "amqp://guest:guest@rabbit:5672//",
        "amqps://u:p@h/vhost",
        "redis://h:1/2",
        "rediss://h/0?ssl_cert_reqs=none",
    ],
)
def test_brokers(tmp_path: Path, url: str) -> None:
    assert load(tmp_path, f"broker: {{url: '{url}'}}").value.broker.url == url


def test_a_configuration_survives_being_written_and_read(tmp_path: Path) -> None:
    text = "schedule: {warm: {cron: '* * * * *'}, a: {task: warm, every: 1s, options: {type: session}}}"
    config = load(tmp_path, text).value

    assert StokerConfig.model_validate(config.model_dump()) == config
    assert StokerConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("section", [*StokerConfig.model_fields])
def test_each_root_field_takes_its_own_default(tmp_path: Path, section: str) -> None:
    config = load(tmp_path, StokerConfig().model_dump_json(include={section})).value

    assert config == StokerConfig()


def test_a_broker_s_url_may_say_what_celery_s_pages_say(tmp_path: Path) -> None:
    url = "rediss://h/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/ca"
    broker = load(tmp_path, f"broker: {{url: '{url}'}}").value.broker
    assert broker.url == "rediss://h/0?ssl_cert_reqs=required&ssl_ca_certs=/ca"
