"""What `stoker up` shows: its children's lines and what becomes of them, for people or as JSON lines."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import cycle
from typing import Any, TextIO

from stoker.worker.logs import redact_text
from stoker.worker.supervisor import State

#: Colours of the children's names (ANSI), in turn.
COLOURS = (36, 35, 34, 33, 32, 96, 95, 94)

_OWN = "stoker"
_GREEN, _YELLOW, _RED, _DIM = 32, 33, 31, 2


class Output:
    """Writes lines of several processes to one stream; a stream that has been closed is no reason to stop.

    Args:
        names: The children, for colours and the width of the first column.
        stream: Where to; standard output by default.
        console: For people, or JSON lines; None: as the stream is a terminal or not.
    """

    def __init__(
        self, names: Iterable[str], stream: TextIO | None = None, *, console: bool | None = None
    ) -> None:
        self._stream = stream or sys.stdout
        self.console = self._stream.isatty() if console is None else console
        self._coloured = self.console and self._stream.isatty() and not os.environ.get("NO_COLOR")
        self._colours = dict(zip(names, cycle(COLOURS), strict=False))
        self._width = max(map(len, (_OWN, *self._colours)))
        self._lives: dict[str, int] = {}

    @property
    def coloured(self) -> bool:
        """Whether children may colour what they write."""
        return bool(self._coloured)

    def line(self, name: str, text: str) -> None:
        """A child has written a line. One that is JSON goes on as it is."""
        if self.console:
            if text.strip():
                self._write(f"{self._label(name)} {text}")
        elif text.startswith("{") and text.endswith("}"):
            self._write(text)
        elif text.strip():
            self._write(_json("info", redact_text(text), component=name))

    def change(self, name: str, state: State, **details: Any) -> None:
        """A child has changed its state: say so, if it is worth a line."""
        if state is State.STARTING:
            self._lives[name] = self._lives.get(name, 0) + 1
        if state is State.FAILED:
            for text in details.get("last", ()):
                self.line(name, text)
            self.say(
                f"{name} died ({details['how']}) after {details['after']:g} s; "
                f"it is started again in {details['again_in']:g} s",
                level="error",
                process=name,
                **{key: value for key, value in details.items() if key != "last"},
            )
        elif state is State.READY and self._lives[name] > 1:
            self.say(f"{name} is ready again", process=name, **details)
        elif state is State.STOPPING:
            self.say(f"stopping {name}", level="debug", process=name)

    def say(self, text: str, *, level: str = "info", **fields: Any) -> None:
        """Write a line of `stoker up` itself; the fields are for machines only."""
        if not self.console:
            self._write(_json(level, text, component="up", **fields))
            return
        colour = {"error": _RED, "warning": _YELLOW, "debug": _DIM}.get(level, _GREEN)
        self._write(f"{self._label(_OWN)} {self._paint(text, colour)}")

    def summary(self, headline: str, rows: Mapping[str, str], closing: str) -> None:
        """Show what runs and where, as a block for people or one line for machines."""
        if not self.console:
            self._write(_json("info", headline, component="up", parts=dict(rows)))
            return
        width = max(map(len, rows))
        lines = ["", f"  {self._paint(headline, 1, _GREEN)}", ""]
        lines += [
            f"  {self._paint(name.ljust(width), self._colours.get(name, _DIM))}  {text}"
            for name, text in rows.items()
        ]
        lines += ["", f"  {self._paint(closing, _DIM)}", ""]
        for text in lines:
            self._write(text)

    def _label(self, name: str) -> str:
        return self._paint(f"{name.rjust(self._width)} │", self._colours.get(name, _GREEN))

    def _paint(self, text: str, *codes: int) -> str:
        return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if self._coloured else text

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more: the work goes on
            pass


def _json(level: str, event: str, **fields: Any) -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"timestamp": now, "level": level, "event": event, **fields}, default=str)
