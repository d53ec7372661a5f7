"""A group of commands that knows their names and one-line helps without importing them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import IO, Any

import click


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its name, the module that defines a function of that name, and a line of help."""

    name: str
    module: str
    help: str


@dataclass(frozen=True, slots=True)
class Section:
    """Commands that stand together in the help."""

    title: str
    commands: Sequence[Command]


class Failure(click.ClickException):
    """An error of Stoker, told in one line and without a traceback."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it to standard error."""
        label = click.style("error:", fg="red", bold=True)
        click.echo(f"{label} {self.format_message()}", file=file, err=file is None)


class LazyGroup(click.Group):
    """Imports a command's module when the command is called."""

    def __init__(self, *, package: str, sections: Sequence[Section], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._package = package
        self._sections = sections
        self._lazy = {command.name: command for section in sections for command in section.commands}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """All names, in the order of the help."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if not (command := self._lazy.get(cmd_name)):
            return super().get_command(ctx, cmd_name)
        module = import_module(f"{self._package}.{command.module}")
        found = getattr(module, command.name)
        if not isinstance(found, click.Command):
            raise TypeError(f"{module.__name__}.{command.name} is no command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the sections, without importing anything."""
        width = max(map(len, self._lazy))
        for section in self._sections:
            with formatter.section(section.title):
                formatter.write_dl(
                    [(command.name.ljust(width), command.help) for command in section.commands]
                )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of Stoker ends it with exit code 2."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Of Stoker's errors alone; importing them takes longer than printing a help, so not above.
            errors = sys.modules.get("stoker.core.errors")
            if errors is not None and isinstance(error, errors.StokerError):
                raise Failure(str(error)) from error
            raise
