"""The Celery application of the worker and of beat.

`celery -A stoker.worker.app …` works too: then the configuration is read from where `stoker` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from celery import Celery

from stoker.core.errors import ConfigError
from stoker.core.link.clients import asked_for
from stoker.core.settings.addresses import Servers
from stoker.core.settings.config import load_config
from stoker.schedules.beat import beat_schedule
from stoker.tasks.registry import register_tasks
from stoker.tasks.runtime import Runtime, bind_runtime
from stoker.worker.broker import BrokerAMQP
from stoker.worker.config import StokerConfig
from stoker.worker.steps import WORKER_STEPS

if TYPE_CHECKING:
    app: Celery

#: Redis gives a message to another worker after so long without an acknowledgement, in seconds. It must be
#: over twice the longest task's limit: a shorter one has run a task three times.
VISIBILITY_SECONDS = 600

#: How often lost messages are looked for on a Redis broker, in seconds.
RESTORE_SECONDS = 5


def create_app(config: StokerConfig) -> Celery:
    """Return the application for a configuration: tasks, schedule, and what the worker starts beside them."""
    made: Any = Celery("stoker", amqp=BrokerAMQP, set_as_current=False)
    made.conf.update(_settings(config))
    made.conf.beat_schedule = _schedule(config)
    made.stoker_config = config  # for what Celery itself makes: the scheduler, the worker's steps
    bind_runtime(made, Runtime(config))
    register_tasks(made)
    for step in WORKER_STEPS:
        made.steps["worker"].add(step)
    return cast("Celery", made)


def _schedule(config: StokerConfig) -> dict[str, Any]:
    """The schedule, with what the configuration says elsewhere about the tasks' arguments."""
    schedule = beat_schedule(config)
    defaults: dict[str, dict[str, Any]] = {
        "stoker.compute_hit_rates": {"windows": [int(window) for window in config.metrics.windows]},
        "stoker.cleanup_metrics": {"retention": config.metrics.retention},
    }
    for entry in schedule.values():
        entry["kwargs"] = {**defaults.get(entry["task"], {}), **entry["kwargs"]}
    return schedule


def broker_url(config: StokerConfig) -> str:
    """Return the broker's URL in the form that Celery reads; the cache's own server where none is given.

    Raises:
        ConfigError: None is given, and Celery can't use the cache's own.
    """
    url = config.broker.url or config.redis.url
    servers = Servers.of(url)
    if servers.kind == "sentinel" and url.startswith("redis+"):
        return ";".join(servers.at(*place).replace("redis://", "sentinel://", 1) for place in servers.hosts)
    if servers.kind != "server":
        raise ConfigError("broker.url: must be given; tasks can't go by a cluster, nor by TLS and sentinels")
    return "redis+socket://" + url.removeprefix("unix://") if url.startswith("unix://") else url


def _settings(config: StokerConfig) -> dict[str, Any]:
    url = broker_url(config)
    return {
        "broker_url": url,
        "broker_transport_options": {} if url.startswith("amqp") else _redis_options(config),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # One queue a prefix: two installations on one broker don't take each other's tasks.
        "task_default_queue": config.prefix,
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,  # it has run a killing task 42 times in 8 s
        "task_retry_on_worker_lost": True,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "timezone": "UTC",
        "enable_utc": True,
        "worker_pool": "threads",
        "worker_concurrency": config.worker.concurrency,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
    }


def _redis_options(config: StokerConfig) -> dict[str, Any]:
    servers = Servers.of(config.broker.url or config.redis.url)
    told: dict[str, Any] = {}
    if servers.kind == "sentinel":
        told["master_name"] = servers.service
        told["sentinel_kwargs"] = asked_for(servers.sentinel_at(*servers.hosts[0]))
    return {
        **told,
        "global_keyprefix": f"{config.prefix}:celery:",
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": RESTORE_SECONDS,
        "unacked_restore_throttle": 1,
    }


def __getattr__(name: str) -> Celery:
    """Make `app` when somebody asks for it: importing this module reads no configuration."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = create_app(load_config(StokerConfig).value)
    globals()["app"] = made
    return made
