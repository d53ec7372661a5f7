"""The whole of `stoker.yaml`: the cache's part and the worker's, and its JSON Schema."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator

from stoker.core.settings.addresses import check_host, check_redis_url, split_url
from stoker.core.settings.config import CacheConfig, DiscreetModel
from stoker.core.settings.fields import mapping
from stoker.core.settings.policy import Model, PositiveSeconds
from stoker.core.settings.settings import merged
from stoker.schedules.model import ScheduleEntry
from stoker.schedules.plan import default_entries
from stoker.worker.schema import json_schema

_LISTEN = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
_LONGEST_COMMAND = 4096
#: What Celery's pages write for `required` and its like; Celery itself reads both.
_CELERY_CERTIFICATES = re.compile(r"(?<=[?&]ssl_cert_reqs=)CERT_(NONE|OPTIONAL|REQUIRED)(?=&|$)")
_AMQP = {"amqp": "amqp", "amqps": "amqps"}
_MOST_WINDOWS = 16
_OWN_NAMES = frozenset({"server", "worker", "beat", "exporter", "stoker"})
_REDIS = ("redis://", "rediss://", "valkey://", "valkeys://")


def _check_listen(address: str) -> str:
    match = _LISTEN.fullmatch(address)
    if not match or int(match[1]) > 65535:
        raise ValueError(f"{address!r} is no address to listen on: write host:port, as in 127.0.0.1:9540")
    return address


def _check_broker_url(url: str) -> str:
    if url.startswith(_REDIS):
        return check_redis_url(_CELERY_CERTIFICATES.sub(lambda found: found[1].lower(), url))
    schemes = {**_AMQP, **{scheme[:-3]: "" for scheme in _REDIS}}
    parts, _ = split_url(url, schemes, example="amqp://user:password@host:5672/vhost")
    check_host(url, parts)
    return url


def _check_command(command: str) -> str:
    if len(command) > _LONGEST_COMMAND:
        raise ValueError(f"a command line has at most {_LONGEST_COMMAND} characters")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ValueError(f"no command line: {str(error).lower()}") from None
    if not words:
        raise ValueError("a command line must name a program")
    return command


def _check_page(url: str) -> str:
    parts, _ = split_url(url, {"http": "http"}, example="http://127.0.0.1:8000/healthz")
    check_host(url, parts)
    return url


def _check_windows(windows: list[float]) -> list[float]:
    if not 1 <= len(windows) <= _MOST_WINDOWS:
        raise ValueError(
            f"{len(windows)} lengths of time are given: give 1 to {_MOST_WINDOWS}, as in [1m, 5m, 1h]"
        )
    return windows


def _check_stream(name: str) -> str:
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f]{1,256}", name):
        raise ValueError(f"{name!r} is no name for this: use 1 to 256 characters, no spaces")
    return name


def _check_process_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,31}", name):
        raise ValueError(f"{name!r} can't name a process: use a letter, then up to 31 letters, digits, -, _")
    if name in _OWN_NAMES:
        raise ValueError(f"{name} is the name of a part of Stoker: choose another")
    return name


Listen = Annotated[
    str,
    AfterValidator(_check_listen),
    WithJsonSchema({"type": "string", "pattern": "^[^ ]+:[0-9]{1,5}$"}),
]
"""An address to listen on: `127.0.0.1:9540`, `[::1]:9540`; port 0 takes a free one."""

StreamName = Annotated[str, AfterValidator(_check_stream)]
"""The name of a stream or of a consumer group."""

ProcessName = Annotated[str, AfterValidator(_check_process_name)]
"""The name of a program that `stoker up` runs; none of Stoker's own parts has it."""

Window = Annotated[PositiveSeconds, Field(ge=1)]
"""A length of time over which a hit rate is computed."""


class BrokerConfig(DiscreetModel):
    """The broker that carries Celery's tasks."""

    url: Annotated[str, AfterValidator(_check_broker_url)] | None = None
    """`amqp://`, `amqps://`, `redis://` or `rediss://`; the caches' own server where not given."""


class WorkerConfig(Model):
    """The process that warms, cleans up and applies events."""

    concurrency: int = Field(default=8, ge=1, le=256)
    """Tasks that run at once."""
    listen: Listen | None = "127.0.0.1:9541"
    """Where `/healthz` and `/readyz` answer; `null` for nowhere."""


class BeatConfig(Model):
    """The process that starts what the schedule says; of several, one leads."""

    listen: Listen | None = "127.0.0.1:9542"
    """Where `/healthz` and `/readyz` answer; `null` for nowhere."""
    lease: Annotated[PositiveSeconds, Field(ge=1, le=3600)] = 10.0
    """A leader that is unseen for so long is replaced."""


class EventsConfig(Model):
    """Invalidation events that other services publish."""

    stream: StreamName | None = None
    """The Redis stream that is read; `<prefix>:events` where not given."""
    group: StreamName = "stoker"
    """The consumer group that all workers share."""
    batch: int = Field(default=500, ge=1, le=10_000)
    """At most so many events are applied at once."""
    block: Annotated[PositiveSeconds, Field(ge=0.01, le=60)] = 1.0
    """A read waits at most so long for events."""


class MetricsConfig(Model):
    """What is counted, and where it is shown."""

    listen: Listen | None = "127.0.0.1:9540"
    """Where the exporter's `/metrics`, `/healthz` and `/readyz` answer; `null` for nowhere."""
    retention: Annotated[PositiveSeconds, Field(ge=60)] = 86400.0
    """Counts of each time bucket are kept for so long."""
    windows: Annotated[list[Annotated[PositiveSeconds, Field(ge=1)]], AfterValidator(_check_windows)] = Field(
        default=[60.0, 300.0, 3600.0], json_schema_extra={"minItems": 1, "maxItems": _MOST_WINDOWS}
    )
    """Hit rates are computed over each of these lengths of time."""


class ProcessConfig(Model):
    """A program that `stoker up` runs beside its own."""

    command: Annotated[str, AfterValidator(_check_command)]
    """The command line; no shell reads it."""
    cwd: str | None = None
    """The folder it runs in; the one `stoker up` was started in where not given."""
    ready: Annotated[str, AfterValidator(_check_page)] | None = None
    """A page (`http://`) that answers 200 once the program can be used."""


class UpConfig(Model):
    """`stoker up`: everything on one machine."""

    data: str = Field(default=".stoker", min_length=1)
    """The folder of the embedded server's data, which is started where no `redis.url` is given."""
    processes: dict[ProcessName, ProcessConfig] = Field(default_factory=dict)
    """Programs to run as well, by name."""


class LogsConfig(Model):
    """What is logged, and how."""

    format: Literal["auto", "console", "json"] = "auto"
    """`console` for people, `json` for machines; `auto` is `console` on a terminal and `json` elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""


class StokerConfig(CacheConfig):
    """All of `stoker.yaml`."""

    broker: BrokerConfig = BrokerConfig()
    """The broker that carries Celery's tasks."""
    worker: WorkerConfig = WorkerConfig()
    """The process that warms, cleans up and applies events."""
    beat: BeatConfig = BeatConfig()
    """The process that starts what the schedule says."""
    schedule: dict[str, ScheduleEntry] = Field(default_factory=dict, validate_default=True)
    """What runs when, by name. For an entry of the default schedule what is given goes over single fields."""
    events: EventsConfig = EventsConfig()
    """Invalidation events that other services publish."""
    metrics: MetricsConfig = MetricsConfig()
    """What is counted, and where it is shown."""
    up: UpConfig = UpConfig()
    """`stoker up`: everything on one machine."""
    logs: LogsConfig = LogsConfig()
    """What is logged, and how."""

    @field_validator("schedule", mode="before")
    @classmethod
    def _complete_schedule(cls, given: Any) -> Any:
        """Put the default schedule below what was given."""
        if (named := mapping(given)) is None:
            return given
        defaults = {name: entry.model_dump(exclude_unset=True) for name, entry in default_entries().items()}
        return {**defaults, **{name: _entry(defaults.get(name), entry) for name, entry in named.items()}}


def _entry(default: dict[str, Any] | None, given: Any) -> Any:
    """Return an entry with the default one of its name below it, as long as both run the same task."""
    over = given.model_dump(exclude_unset=True) if isinstance(given, ScheduleEntry) else mapping(given)
    if default is None or over is None or over.get("task", default["task"]) != default["task"]:
        return given
    below = dict(default)
    if over.get("every") is not None or over.get("cron") is not None:  # one of the two says when
        for name in ("every", "cron", "jitter"):  # the default's jitter may be too long for another interval
            below.pop(name, None)
    return merged(below, over)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of `stoker.yaml`, for editors; committed as worker/stoker.schema.json.

    `python -m stoker.worker.reference` writes it anew.
    """
    schema = json_schema(StokerConfig, title="stoker.yaml")
    entry = schema["$defs"]["ScheduleEntry"]
    partial = {name: value for name, value in entry.items() if name != "required"}
    schema["$defs"]["PartialScheduleEntry"] = partial
    default = {"$ref": "#/$defs/PartialScheduleEntry"}
    schema["properties"]["schedule"]["properties"] = dict.fromkeys(default_entries(), default)
    return schema
