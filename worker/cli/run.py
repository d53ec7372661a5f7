"""`stoker up`, and the parts of it that run alone in production."""

from __future__ import annotations

import asyncio

import click

from stoker.worker import logs
from stoker.worker.cli.setup import config_option, loaded_config
from stoker.worker.config import StokerConfig


def _configured(component: str) -> StokerConfig:
    """Read the configuration and begin to log."""
    config = loaded_config(find_server=False).value
    logs.configure(config.logs.format, config.logs.level, component=component)
    return config


@click.command()
@config_option
def up() -> None:
    """Run all that one machine needs, supervised.

    A Redis-compatible server where no redis.url is configured, a worker with its event consumer, beat, the
    exporter, and the processes that `up.processes` names. What dies is started again. Ctrl-C stops all of
    it in order; a second Ctrl-C at once.
    """
    from stoker.worker.up import run_up  # noqa: PLC0415

    loaded = loaded_config(find_server=False)
    asyncio.run(run_up(loaded))


@click.command()
@config_option
@click.option(
    "--name", metavar="NAME", help="Tells it from other workers on this host; keep it over restarts."
)
def worker(name: str | None) -> None:
    """Run a worker: warming, clean-up, hit rates and the event consumer."""
    config = _configured("worker")
    from stoker.worker.run import run_worker  # noqa: PLC0415

    run_worker(config, name=name)


@click.command()
@config_option
def beat() -> None:
    """Run the scheduler. Of several, one leads and the others stand by."""
    config = _configured("beat")
    from stoker.worker.run import run_beat  # noqa: PLC0415

    run_beat(config)


@click.command()
@config_option
def exporter() -> None:
    """Serve /metrics of the whole fleet, read from Redis at each scrape."""
    config = _configured("exporter")
    from stoker.worker.exporter import run_exporter  # noqa: PLC0415

    asyncio.run(run_exporter(config))
