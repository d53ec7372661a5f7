"""The command line: one module a group of commands, imported when one of them is called."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.metadata import version
from pathlib import Path

import click

from stoker.worker.cli.lazy import Command, LazyGroup, Section

SECTIONS = (
    Section(
        "Run",
        (
            Command("up", "run", "Run all that one machine needs, supervised."),
            Command("worker", "run", "Run a worker: warming, clean-up, events."),
            Command("beat", "run", "Run the scheduler; one leads, others stand by."),
            Command("exporter", "run", "Serve the fleet's metrics for Prometheus."),
        ),
    ),
    Section(
        "Look",
        (
            Command("stats", "cache", "Hit rates, entries and warming of each cache type."),
            Command("hot", "cache", "The hottest keys of a type."),
            Command("explain", "cache", "What is stored of a key, dead or alive, and why."),
            Command("doctor", "doctor", "Find what is wrong, and what to do about it."),
            Command("health", "health", "Ask a component for its health; for containers."),
        ),
    ),
    Section(
        "Act",
        (
            Command("invalidate", "invalidate", "Invalidate keys, tags, types or patterns."),
            Command("warm", "warming", "Warm a type now."),
            Command("pause", "warming", "Pause warming."),
            Command("resume", "warming", "Resume warming."),
        ),
    ),
    Section(
        "Configure",
        (
            Command("config", "config", "Show and check the configuration; print its schema."),
            Command("schedule", "schedule", "Show and check what runs when."),
        ),
    ),
)


@click.group(
    cls=LazyGroup,
    package="stoker.worker.cli",
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-c",
    "--config",
    "config_file",
    metavar="FILE",
    envvar="STOKER_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The configuration; ./stoker.yaml if it is there.",
)
@click.version_option(version("stoker"), message="stoker %(version)s")
@click.pass_context
def cli(context: click.Context, config_file: Path | None) -> None:
    """Stoker keeps caches hot and honest.

    `stoker up` runs everything on this machine. `stoker COMMAND --help` tells more about a command.
    """
    context.obj = config_file


def main() -> None:
    """Run the command line; what the console script `stoker` calls."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # loaders are modules of the user's application
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    os.environ.setdefault("COLUMNS", "100") if not sys.stdout.isatty() else None
    cli(prog_name="stoker")
