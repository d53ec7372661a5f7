"""What is wrong with a configuration: one line each, with the place, the field and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stoker.core.errors import ConfigError

#: So many problems are told at once; the rest is counted.
MOST_TOLD = 40

#: A longer line is cut, in characters.
_LONGEST_LINE = 600

FieldPath = tuple[str | int, ...]
"""The way to a value: the names and list indexes from the root."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it stands and what it is about."""

    where: str
    """`stoker.yaml:12`, or the environment variable; empty for values given by a program."""
    field: str
    """The dotted path of the field; empty for the whole document."""
    message: str
    """What is wrong, and the values allowed."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.field, self.message) if part)


def dotted(path: FieldPath) -> str:
    """Return a path as it is shown: `types.product.ttl`, `loaders[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one `ConfigError` that tells all `problems`, one a line; do nothing where there are none."""
    lines = list(dict.fromkeys(printable(str(problem)) for problem in sorted(problems, key=_line)))
    if not lines:
        return
    if len(lines) > MOST_TOLD:
        lines[MOST_TOLD:] = [f"... and {len(lines) - MOST_TOLD} more"]
    raise ConfigError("\n".join(lines))


def _line(problem: Problem) -> tuple[bool, int]:
    """Order by line; what stands in no file comes last."""
    found = re.search(r":(\d+)$", problem.where)
    return not found, int(found[1]) if found else 0


def printable(text: str) -> str:
    """Return `text` on one line of bearable length, free of what a terminal would obey or can't show."""
    cut = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
