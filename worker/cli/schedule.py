"""`stoker schedule`: what runs when."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich.text import Text

from stoker.schedules import check as checks
from stoker.schedules.plan import expires_seconds, plan
from stoker.schedules.timetable import next_runs, timetable
from stoker.worker.cli.setup import config_option, json_option, loaded_config
from stoker.worker.cli.show import seconds, write_json, write_table


@click.group()
def schedule() -> None:
    """Show and check what runs when."""


@schedule.command()
@click.option(
    "-n", "--runs", default=3, show_default=True, type=click.IntRange(1, 100), help="Runs of each entry."
)
@config_option
@json_option
def show(runs: int, *, as_json: bool) -> None:
    """Print the next runs of each entry, the default schedule's included."""
    config = loaded_config(find_server=False).value
    now = datetime.now(UTC)
    entries = {
        name: (entry, next_runs(entry, runs, now, name=f"{config.prefix}:{name}"))
        for name, entry in plan(config).items()
    }
    if as_json:
        write_json(
            {
                name: {
                    "task": entry.task,
                    "rule": timetable(entry, name).rule,
                    "jitter": entry.jitter,
                    "expires": expires_seconds(entry),
                    "options": entry.options,
                    "next": [moment.isoformat() for moment in moments],
                }
                for name, (entry, moments) in entries.items()
            }
        )
        return
    rows = [
        (
            name,
            timetable(entry, name).rule + (f" + up to {seconds(entry.jitter)}" if entry.jitter else ""),
            seconds(expires_seconds(entry)),
            ", ".join(f"{moment.astimezone():%H:%M:%S}" for moment in moments),
            f"in {seconds((moments[0] - now).total_seconds())}",
        )
        for name, (entry, moments) in entries.items()
    ]
    write_table(("entry", "runs", "expires after", "next", "first"), rows)


@schedule.command()
@config_option
@json_option
def check(*, as_json: bool) -> None:
    """Look for what is wrong with the schedule: exit code 1 if an entry can't do its work."""
    problems = checks.check(loaded_config(find_server=False).value)
    if as_json:
        write_json(
            [{"entry": item.entry, "severity": item.severity, "message": item.message} for item in problems]
        )
    elif problems:
        styles = {"error": "red", "warning": "yellow"}
        rows = [(Text(item.severity, styles[item.severity]), item.entry, item.message) for item in problems]
        write_table(("", "entry", "problem"), rows)
    else:
        click.echo(f"{click.style('ok', fg='green')}  every entry can do its work")
    if any(item.severity == "error" for item in problems):
        raise SystemExit(1)
