"""`stoker warm`, `stoker pause`, `stoker resume`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from stoker.core.errors import StokerError
from stoker.core.loading.loaders import import_loaders
from stoker.core.warming.pauses import pause as pause_type
from stoker.core.warming.pauses import paused
from stoker.core.warming.pauses import resume as resume_type
from stoker.core.warming.warming import WarmRun
from stoker.core.warming.warming import warm as warm_type
from stoker.schedules.plan import warmable
from stoker.worker.cli.arguments import SecondsRange, check_reason, user_name
from stoker.worker.cli.setup import config_option, connected, json_option, loaded_config, run_async
from stoker.worker.cli.show import progress, seconds, write_json
from stoker.worker.config import StokerConfig


class NotWarmedError(StokerError):
    """A run did not do its work; the message says why."""


@click.command()
@click.argument("cache_type", metavar="TYPE")
@click.option("--limit", type=click.IntRange(min=1), help="Consider so many of the hottest keys.")
@click.option("--seconds", "limit_seconds", type=SecondsRange(min=0.1), help="Start no load later than this.")
@config_option
@json_option
def warm(cache_type: str, limit: int | None, limit_seconds: float | None, *, as_json: bool) -> None:
    """Warm a type now: load again what is hot and about to expire.

    Runs here, with the configured loaders, under the same lock, pauses and budget as the schedule's runs.
    """
    config = loaded_config().value
    with progress(f"warming {cache_type}"):
        run = run_async(_warm(config, cache_type, limit, limit_seconds))
    if as_json:
        write_json({"id": run.id, **run.fields(), "reasons": run.reasons})
    if run.status != "done":
        raise NotWarmedError(f"{cache_type} was not warmed: {_why(run)}")
    if not as_json:
        click.echo(
            f"{click.style('warmed', fg='green')}  {cache_type}: {run.ranked} hot keys, {run.planned} due, "
            f"{run.loaded} loaded, {run.failed} failed, {run.skipped} skipped, {run.deferred} left, "
            f"in {seconds(run.seconds)}"
        )
        for reason, count in sorted(run.reasons.items(), key=lambda item: -item[1]):
            click.echo(f"  {count}x {reason}")


def _why(run: WarmRun) -> str:
    meanings = {
        "disabled": "its policy says warm.mode: none",
        "paused": "its warming is paused; `stoker resume` ends that",
        "busy": "another run of it is under way",
        "unreachable": "the server did not answer",
    }
    return meanings.get(run.status, ", ".join(run.reasons) or run.status)


async def _warm(config: StokerConfig, cache_type: str, limit: int | None, within: float | None) -> WarmRun:
    import_loaders(config.loaders)
    async with connected(config) as manager:
        return await warm_type(manager, cache_type, limit=limit, seconds=within)


@click.command()
@click.argument("types", nargs=-1, metavar="[TYPE]...")
@click.option(
    "--reason",
    metavar="TEXT",
    callback=check_reason,
    help="Shown by stats and metrics; who, if not given.",
)
@config_option
def pause(types: tuple[str, ...], reason: str | None) -> None:
    """Pause the warming of types, of all if none is named.

    Runs under way stop within a second. Reads, events and clean-up go on.
    """
    config = loaded_config().value
    named = types or tuple(warmable(config))
    run_async(_pause(config, named, reason or f"by {user_name()}"))
    click.echo(f"{click.style('paused', fg='yellow')}  {', '.join(named)}")


async def _pause(config: StokerConfig, types: Sequence[str], reason: str) -> None:
    async with connected(config) as manager:
        for cache_type in types:
            manager.policy(cache_type)
        for cache_type in types:
            await pause_type(manager, cache_type, reason)


@click.command()
@click.argument("types", nargs=-1, metavar="[TYPE]...")
@config_option
def resume(types: tuple[str, ...]) -> None:
    """Resume the warming of types, of all that are paused if none is named."""
    config = loaded_config().value
    resumed = run_async(_resume(config, types))
    click.echo(
        f"{click.style('resumed', fg='green')}  {', '.join(resumed)}" if resumed else "nothing was paused"
    )


async def _resume(config: StokerConfig, types: Sequence[str]) -> list[str]:
    async with connected(config) as manager:
        for cache_type in types:
            if cache_type not in await paused(manager):
                manager.policy(cache_type)
        named = types or list(await paused(manager))
        return [cache_type for cache_type in named if await resume_type(manager, cache_type)]
