"""What several commands take: lengths of time, reasons, and who asks."""

from __future__ import annotations

import getpass
import math
import unicodedata
from typing import Any

import click

from stoker.core.errors import UsageError
from stoker.core.keys import check_text

#: The longest reason, in characters: it is for a line of a table.
MAX_REASON_LENGTH = 200


class SecondsRange(click.FloatRange):
    """A length of time in seconds: a finite number within a range."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse what no clock shows: `nan` compares as within every range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no length of time: write a number of seconds, such as 30", param, ctx)
        return number


def check_reason(_context: click.Context, _parameter: click.Parameter, reason: str | None) -> str | None:
    """Return a reason that can be stored, and shown within a line.

    Raises:
        UsageError: It is too long, or holds control characters or half a surrogate pair.
    """
    if reason is None:
        return None
    check_text("a reason", reason)
    if len(reason) > MAX_REASON_LENGTH:
        raise UsageError(f"a reason has at most {MAX_REASON_LENGTH} characters, not {len(reason)}")
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in reason):
        raise UsageError("a reason is one line of text: leave out line breaks and other control characters")
    return reason


def user_name() -> str:
    """Who asks, for the audit trail; `?` for a container's user without a name."""
    try:
        return getpass.getuser().encode(errors="replace").decode()
    except (OSError, KeyError):
        return "?"
