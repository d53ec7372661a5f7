"""Reading a YAML document of settings: the values, and the line on which each of them stands.

The YAML that is read is small on purpose: one document of plain mappings, lists and scalars. Tags and aliases
are refused, so is a field that is given twice. Scalars mean what YAML 1.2 says: `no` and `on` are texts,
`010` is ten, `1:30` and `2026-01-01` are texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stoker.core.errors import ConfigError
from stoker.core.settings.problems import FieldPath, Problem, dotted, printable

#: The largest file that is read, in bytes.
MAX_BYTES = 2**20

#: How many names, values and list items a file may hold.
MAX_VALUES = 20_000

#: How deep mappings and lists may be nested.
MAX_DEPTH = 32

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_BASED = re.compile(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(slots=True)
class Document:
    """What a file says, and where."""

    source: str
    """The file's name as messages show it."""
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    """The root mapping. All names in it are texts, whatever they look like."""
    lines: dict[FieldPath, int] = field(default_factory=dict[FieldPath, int])
    """The line (from 1) of each value's name, by its path."""
    problems: list[Problem] = field(default_factory=list[Problem])
    """What is wrong with the form, where the rest could be read all the same."""


def read_document(path: Path) -> Document:
    """Read the file at `path`.

    Raises:
        ConfigError: It can't be opened, is longer than `MAX_BYTES`, or is no YAML document of settings.
            The message names the file and, where there is one, the line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(printable(f"{path}: can't be read: {reason}")) from None
    return parse_document(raw, printable(str(path)))


def parse_document(raw: bytes, source: str) -> Document:
    """Read a document from its bytes; `source` names it in messages. Raises as `read_document`."""
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{source}: longer than {MAX_BYTES // 1024} KiB, which no configuration is")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{source}:{line}: not UTF-8 text (byte 0x{raw[error.start]:02x})") from None
    if bad := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise ConfigError(f"{source}:{line}: a control character (U+{ord(bad[0]):04X}), so this is no YAML")
    return _Reader(source).read(text)


def parse_value(text: str, source: str) -> Any:
    """Read one YAML value on its own, e.g. `{ttl: 5m}` or `[a, b]`. Raises as `read_document`."""
    document = parse_document(b"value:\n " + text.encode("utf-8", "surrogateescape"), source)
    if document.problems or set(document.data) != {"value"}:
        raise ConfigError(f"{source}: no single YAML value")
    return document.data["value"]


def plain_value(text: str) -> Any:
    """Return what an unquoted YAML scalar means: None, a bool, an int, a float, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


class _Reader:
    """Builds a document from the parser's events; never recurses deeper than `MAX_DEPTH`."""

    def __init__(self, source: str) -> None:
        self._document = Document(source)
        self._events: Iterator[Any] = iter(())
        self._values = 0

    def read(self, text: str) -> Document:
        try:
            self._events = yaml.parse(text, Loader=_LOADER)
            self._read_root()
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error) from None
        except yaml.YAMLError as error:
            raise ConfigError(printable(f"{self._document.source}: not YAML: {error}")) from None
        return self._document

    def _read_root(self) -> None:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return  # an empty file, or comments only
        event = next(self._events)
        value = self._value(event, ())
        if isinstance(value, dict):
            self._document.data = value
        elif value is not None:
            shape = "a list" if isinstance(value, list) else "a single value"
            raise self._fatal(event, f"{shape}, where `field: value` lines are needed")
        next(self._events)  # the document's end
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            raise self._fatal(after, "a second document (`---`): keep one in a file")

    def _value(self, event: Any, path: FieldPath) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._fatal(event, f"more than {MAX_VALUES} values, which no configuration has")
        if isinstance(event, yaml.AliasEvent):
            self._note(event, path, f"an alias (*{event.anchor}) is not read: write the value out")
            return None
        if event.tag is not None:
            self._note(event, path, f"a tag ({event.tag}) is not read: leave it out")
        if isinstance(event, yaml.ScalarEvent):
            return plain_value(event.value) if event.implicit[0] and not event.style else event.value
        if len(path) >= MAX_DEPTH:
            raise self._fatal(event, f"nested deeper than {MAX_DEPTH} levels")
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._list(path)

    def _mapping(self, path: FieldPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._fatal(event, "a field's name must be a plain text", path)
            name = str(event.value)
            here = (*path, name)
            if name in result:
                self._note(event, here, f"given twice; the first one is on line {self._document.lines[here]}")
            self._document.lines.setdefault(here, _line(event))
            value = self._value(next(self._events), here)
            result.setdefault(name, value)
        return result

    def _list(self, path: FieldPath) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            here = (*path, len(result))
            self._document.lines[here] = _line(event)
            result.append(self._value(event, here))
        return result

    def _where(self, event: Any) -> str:
        return f"{self._document.source}:{_line(event)}"

    def _note(self, event: Any, path: FieldPath, message: str) -> None:
        self._document.problems.append(Problem(self._where(event), dotted(path), message))

    def _fatal(self, event: Any, message: str, path: FieldPath = ()) -> ConfigError:
        return ConfigError(printable(str(Problem(self._where(event), dotted(path), message))))

    def _syntax(self, error: yaml.MarkedYAMLError) -> ConfigError:
        mark = error.problem_mark or error.context_mark
        where = f"{self._document.source}:{mark.line + 1}" if mark else self._document.source
        message = " ".join(part for part in (error.context, error.problem) if part)
        tab = "\\t" in message or "cannot start any token" in message
        hint = " (indent with spaces, not with tabs; quote texts that begin with a sign)" if tab else ""
        return ConfigError(printable(f"{where}: not YAML: {message}{hint}"))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
