"""Putting a configuration together: defaults, the file over them, the environment over both.

For each single setting it stays known where its value came from.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from stoker.core.settings.document import Document, read_document
from stoker.core.settings.environment import read_environment, where
from stoker.core.settings.fields import Kind, elements, find, leaves, mapping, step
from stoker.core.settings.problems import FieldPath, Problem, dotted, refuse
from stoker.core.settings.redaction import HIDDEN, redact, redact_url

T_co = TypeVar("T_co", bound=BaseModel, covariant=True)
T = TypeVar("T", bound=BaseModel)

#: The file that is read where none is named and it is there.
DEFAULT_FILE = "stoker.yaml"

#: The context of a validation of what file and environment say: nothing but the fields themselves is known.
FROM_SETTINGS = "settings"

#: Longer values are cut in messages.
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from."""

    kind: Literal["file", "environment", "default"]
    detail: str = ""
    """`stoker.yaml:12`, or the variable's name; empty for a default."""
    via: str = ""
    """The other setting it was taken from, if any: `default_ttl` for a type's TTL."""

    def __str__(self) -> str:
        place = where(self.detail) if self.kind == "environment" else self.detail or self.kind
        return f"{self.via}, {place}" if self.via else place


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T_co]):
    """A configuration, and where each of its values came from."""

    value: T_co
    origins: Mapping[str, Origin]
    """Of each single setting, by its dotted path."""
    path: Path | None = None
    """The file that was read, if any."""


class Setting(NamedTuple):
    """One line of `stoker config show`."""

    field: str
    value: Any
    """As JSON would hold it; secrets are `***`."""
    origin: Origin


def describe(loaded: Loaded[BaseModel]) -> list[Setting]:
    """Return all settings with their values, free of secrets, and their origins."""
    found: list[Setting] = []
    for path, value in leaves(Kind(type(loaded.value)), loaded.value.model_dump()):
        shown = HIDDEN if isinstance(value, SecretStr) else redact(str(path[-1]), value)
        found.append(Setting(dotted(path), shown, loaded.origins[dotted(path)]))
    return found


def find_file(path: Path | str | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read: `path`, else `$STOKER_CONFIG`, else ./stoker.yaml if it is there."""
    if path is not None:
        return Path(path)
    if named := environ.get("STOKER_CONFIG", "").strip():
        return Path(named)
    return Path(DEFAULT_FILE) if os.path.lexists(DEFAULT_FILE) else None


def load_settings(
    model: type[T],
    path: Path | str | None,
    environ: Mapping[str, str],
    *,
    foreign: frozenset[str] = frozenset(),
) -> Loaded[T]:
    """Read the settings of `model`; root fields in `foreign` are left to whoever they belong to.

    Raises:
        ConfigError: One line for each thing that is wrong: file and line or environment variable, field, what
            is wrong with it, and the values allowed.
    """
    file = find_file(path, environ)
    draft = _Draft(model, read_document(file) if file else Document(""), foreign)
    draft.lay_over(environ)
    value = draft.validated(model)
    origins = {dotted(leaf): draft.origin(leaf) for leaf, _ in leaves(Kind(model), value.model_dump())}
    # What holds for others where these say nothing is nowhere in the model any more.
    general = {dotted(path): origin for path, origin in draft.origins.items() if "*" in path}
    return Loaded(value, general | origins, file)


def settings_of_environment(
    model: type[T], environ: Mapping[str, str], *, foreign: frozenset[str] = frozenset()
) -> tuple[T, dict[str, Any]]:
    """Read what the environment alone says, and no file: the settings, and the raw values below them.

    Raises:
        ConfigError: As of `load_settings`.
    """
    draft = _Draft(model, Document(""), foreign)
    draft.lay_over(environ)
    return draft.validated(model), draft.data


@dataclass(slots=True)
class _Draft:
    """The raw values on their way to a model, each with its origin."""

    model: type[BaseModel]
    document: Document
    foreign: frozenset[str]
    data: dict[str, Any] = field(init=False)
    origins: dict[FieldPath, Origin] = field(default_factory=dict[FieldPath, Origin])
    problems: list[Problem] = field(default_factory=list[Problem])

    def __post_init__(self) -> None:
        self.problems.extend(self.document.problems)
        foreign = self.foreign - set(self.model.model_fields)
        self.data = {name: value for name, value in self.document.data.items() if name not in foreign}
        for path, line in self.document.lines.items():
            self.origins[path] = Origin("file", f"{self.document.source}:{line}")

    def lay_over(self, environ: Mapping[str, str]) -> None:
        """Put the environment's values over those of the file."""
        self.data = self._fill_empty(Kind(self.model), self.data)
        known = merged(self.model().model_dump(), self.data)
        foreign = self.foreign - set(self.model.model_fields)
        environment = read_environment(self.model, known, foreign, environ)
        self.problems.extend(environment.problems)
        for variable, path, value in environment.values:
            self._put(path, value, Origin("environment", variable))
        self._refuse_truth_values(Kind(self.model), self.data, ())

    def _fill_empty(self, kind: Kind, value: Any) -> Any:
        """Return `value` with `{}` for each section of which the file gives the name alone."""
        if value is None and not kind.nullable and (kind.section is not None or kind.values is not None):
            return {}
        if (named := mapping(value)) is None:
            return value
        result: dict[str, Any] = {}
        for name, part in named.items():
            below = step(kind, name)
            result[name] = part if below is None else self._fill_empty(below, part)
        return result

    def _put(self, path: FieldPath, value: Any, origin: Origin) -> None:
        here = self.data
        for depth, name in enumerate(path[:-1], start=1):
            self.origins.setdefault(path[:depth], origin)
            inner = mapping(here.setdefault(str(name), {}))
            if inner is None:
                return  # the file has a single value where a section should be, and is told so
            here = inner
        last = str(path[-1])
        named = mapping(value)
        if named is not None and mapping(here.get(last)) is not None:
            for name, part in named.items():
                self._put((*path, name), part, origin)
            return
        here[last] = copy.deepcopy(value)
        self._mark(path, value, origin)

    def _mark(self, path: FieldPath, value: Any, origin: Origin) -> None:
        self.origins[path] = origin
        for name, part in (mapping(value) or {}).items():
            self._mark((*path, name), part, origin)

    def _refuse_truth_values(self, kind: Kind, value: Any, path: FieldPath) -> None:
        """Find each `true` or `false` where a number is needed: pydantic would read it as 1 or 0."""
        if isinstance(value, bool) and kind.base in {int, float}:
            self.problems.append(
                self._problem(path, f"{_shown(value)} is not allowed: give {kind.allowed()}")
            )
        parts: list[tuple[str | int, Any]] = list(enumerate(elements(value)))
        for name, part in (*(mapping(value) or {}).items(), *parts):
            if (below := step(kind, name)) is not None:
                self._refuse_truth_values(below, part, (*path, name))

    def validated(self, model: type[T]) -> T:
        """Return the finished model, or raise with all that is wrong."""
        try:
            value = model.model_validate(self.data, context=FROM_SETTINGS)
        except ValidationError as error:
            self.problems.extend(self._explain(detail) for detail in error.errors(include_url=False))
            refuse(self.problems)
            raise  # never: there is a problem for each error
        refuse(self.problems)
        return value

    def origin(self, path: FieldPath) -> Origin:
        """Return where the value at `path` came from."""
        return self.origins.get(path, Origin("default"))

    def _problem(self, path: FieldPath, message: str) -> Problem:
        nearest = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in self.origins), ())
        place = self.origins.get(nearest)
        return Problem(str(place) if place else self.document.source, dotted(path), message)

    def _explain(self, detail: ErrorDetails) -> Problem:
        path = tuple(part for part in detail["loc"] if part != "[key]")
        kind = find(self.model, path)
        name = str(path[-1]) if path else ""
        shown = _shown(redact(name, detail["input"]))
        if detail["type"] == "extra_forbidden":
            section = find(self.model, path[:-1])
            message = _unknown(name, section, () if path[:-1] else sorted(self.foreign))
        elif detail["type"] == "missing":
            message = f"must be given, as {kind.allowed() if kind else 'a value'}"
        elif kind is None or (detail["type"] == "value_error" and kind.is_free):
            message = detail["msg"].removeprefix("Value error, ")
        else:
            message = f"{shown} is not allowed: give {kind.allowed()}"
        return self._problem(path, message)


def _unknown(name: str, section: Kind | None, more: Iterable[str]) -> str:
    fields = section.section.model_fields if section and section.section else ()
    names = list(dict.fromkeys((*fields, *more)))
    close = get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"no such field; {hint}There are {', '.join(names)}"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(redact_url(value) if isinstance(value, str) and "@" in value else value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over`, mapping by mapping."""
    result = dict(base)
    for name, value in over.items():
        below, above = mapping(result.get(name)), mapping(value)
        result[name] = value if below is None or above is None else merged(below, above)
    return result
