"""Showing results: tables for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Stands where there is no value.
NOTHING = "-"


def console() -> Console:
    """Standard output; wide and plain where it is no terminal, so that nothing is cut or wrapped."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def write_json(value: Any) -> None:
    """Write a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def write_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, right: str = ""
) -> None:
    """Write a table.

    Args:
        columns: The heads.
        rows: The cells; a `rich.text.Text` keeps its style, None is a dash.
        title: Stands above.
        right: Heads of the columns that are aligned to the right, separated by spaces.
    """
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
    )
    numbers = right.split()
    for column in columns:
        is_number = column.replace(" ", "_") in numbers
        table.add_column(column, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    console().print(table)


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else Text(NOTHING if value is None else str(value))


def progress(what: str) -> AbstractContextManager[Any]:
    """Show on a terminal, on standard error, that something takes its time."""
    return Console(stderr=True).status(f"{what} ...")


def seconds(value: float) -> str:
    """A length of time for people.

    >>> [seconds(value) for value in (0.0042, 3.25, 75, 7200, 200000)]
    ['4.2 ms', '3.25 s', '1 m 15 s', '2 h', '2 d 7 h']
    """
    if value < 0:
        return f"-{seconds(-value)}"
    if value < 1:
        return f"{value * 1000:.3g} ms"
    if value < 60:
        return f"{value:.3g} s"
    whole = int(value)
    for unit, size, below, smaller in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    raise AssertionError(value)


def size(value: float) -> str:
    """A number of bytes for people.

    >>> [size(value) for value in (0, 999, 2048, 5 * 2**20)]
    ['0 B', '999 B', '2.0 KiB', '5.0 MiB']
    """
    if value < 1024:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            return f"{value:.1f} {unit}"
    raise AssertionError(value)


def percent(value: float | None) -> str | None:
    """A fraction for people.

    >>> percent(0.98765)
    '98.8 %'
    """
    return None if value is None else f"{value * 100:.1f} %"


def clock(moment: float) -> str:
    """A unix time as local date and time."""
    return f"{datetime.fromtimestamp(moment, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
