"""`stoker config`: what holds, where it came from, and what a file may say."""

from __future__ import annotations

from importlib.resources import files

import click

from stoker.core.errors import StokerError
from stoker.core.loading.loaders import import_loaders
from stoker.core.settings.config import describe
from stoker.schedules import check as checks
from stoker.worker.cli.lazy import Failure
from stoker.worker.cli.setup import config_option, json_option, loaded_config
from stoker.worker.cli.show import write_json, write_table
from stoker.worker.config import StokerConfig


@click.group()
def config() -> None:
    """Show and check the configuration; print its schema."""


@config.command()
@click.argument("field", required=False)
@config_option
@json_option
def show(field: str | None, *, as_json: bool) -> None:
    """Print what holds and where each value came from; secrets are hidden.

    FIELD, such as `types.product`, narrows it down.
    """
    loaded = loaded_config(find_server=False)
    settings = [
        setting
        for setting in describe(loaded)
        if not field or setting.field == field or setting.field.startswith((f"{field}.", f"{field}["))
    ]
    if not settings:
        raise click.UsageError(f"there is no setting {field!r}")
    if as_json:
        write_json(
            {
                item.field: {"value": item.value, "origin": item.origin.kind, "from": str(item.origin)}
                for item in settings
            }
        )
        return
    write_table(
        ("setting", "value", "from"),
        [(item.field, _shown(item.value), str(item.origin)) for item in settings],
    )


@config.command()
@config_option
def check() -> None:
    """Check the configuration: exit code 0 if it can be used, else 2 and what is wrong.

    Looks at the file and the environment, the schedule, and whether the loaders can be imported. `stoker
    doctor` checks what needs a server.
    """
    loaded = loaded_config(find_server=False)
    problems = _problems(loaded.value)
    for problem in problems:
        Failure(problem).show()
    if problems:
        raise SystemExit(Failure.exit_code)
    where = str(loaded.path) if loaded.path else "no file: defaults and environment"
    click.echo(f"{click.style('ok', fg='green')}  {where}  ({len(loaded.value.types)} cache types)")


@config.command()
def schema() -> None:
    """Print the JSON Schema of stoker.yaml, for editors."""
    text = files("stoker.worker").joinpath("stoker.schema.json").read_text(encoding="utf-8")
    click.echo(text.rstrip())


def _problems(config: StokerConfig) -> list[str]:
    """What keeps a configuration that can be read from being used, a line each."""
    found = [
        f"schedule.{problem.entry}: {problem.message}"
        for problem in checks.check(config)
        if problem.severity == "error"
    ]
    for module in config.loaders:
        try:
            import_loaders([module])
        except StokerError as error:
            found.append(" ".join(str(error).split()))
    return found


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
