"""What is wrong with a schedule that its own form can't tell: names that must exist, odd lengths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from stoker.core.errors import EventError
from stoker.core.events import parse_event
from stoker.core.settings.policy import Model, PositiveSeconds
from stoker.schedules.model import EVERY_TYPE, ScheduleEntry
from stoker.schedules.plan import Scheduled, default_entries, warmable


class _WarmOptions(Model):
    limit: int | None = Field(default=None, ge=1)
    seconds: PositiveSeconds | None = None


_WINDOWS = TypeAdapter(list[Annotated[PositiveSeconds, Field(ge=1)]])


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an entry, or that probably isn't meant."""

    entry: str
    """The entry's name in the schedule."""
    severity: Literal["error", "warning"]
    """`error`: the entry can't do its work. `warning`: it runs, but look at it."""
    message: str
    """What is wrong, and what to do."""


def check(config: Scheduled) -> list[Problem]:
    """Return all problems of the schedule as it would run, the default's entries included."""
    entries = {**default_entries(), **config.schedule}
    return [problem for name, entry in entries.items() for problem in _problems(name, entry, config)]


def _problems(name: str, entry: ScheduleEntry, config: Scheduled) -> Iterator[Problem]:
    if entry.every is not None and entry.expires is not None and entry.expires > 2 * entry.every:
        late = f"expires {entry.expires:g} s is over twice the interval of {entry.every:g} s: "
        yield Problem(name, "warning", late + "after an outage old runs pile up; leave it out, or shorten it")
    messages = {
        "warm": _warm,
        "invalidate": _invalidate,
        "compute_hit_rates": _compute_hit_rates,
        "cleanup_metrics": _no_options,
        "sweep": _no_options,
    }[entry.task](entry, config)
    for message in messages:
        yield Problem(name, "error", message)


def _warm(entry: ScheduleEntry, config: Scheduled) -> Iterator[str]:
    overrides = dict(entry.options)
    cache_type = overrides.pop("type", None)
    if not isinstance(cache_type, str):
        yield 'options.type is missing: name a cache type, or "*" for every type that is warmed'
    elif cache_type != EVERY_TYPE:
        yield from _known_type(cache_type, config)
    try:
        _WarmOptions.model_validate(overrides)
    except ValidationError as error:
        yield from _plain(error, "options")


def _known_type(cache_type: str, config: Scheduled) -> Iterator[str]:
    if cache_type not in config.types:
        near = get_close_matches(cache_type, config.types, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(config.types))}"
        yield f"options.type: no cache type is called {cache_type!r}; {hint}"
    elif cache_type not in warmable(config):
        yield f"options.type: warming is off for {cache_type!r} (its policy says warm.mode: none)"


def _invalidate(entry: ScheduleEntry, config: Scheduled) -> Iterator[str]:
    if unknown := set(entry.options) - {"scopes", "reason"}:
        yield f"options: {', '.join(sorted(unknown))}: an invalidation has `scopes` and `reason`"
    if "scopes" not in entry.options:
        yield "options.scopes is missing: e.g. [{type: product}] or [{tag: 'category:5'}]"
        return
    try:
        raw = json.dumps({"id": "check", "scopes": entry.options["scopes"]}).encode()
        parse_event(raw)
    except (EventError, TypeError) as error:
        yield f"options.scopes: {error}"
        return
    for scope in entry.options["scopes"]:
        if "type" in scope and scope["type"] not in config.types:
            yield f"options.scopes: no cache type is called {scope['type']!r}"


def _compute_hit_rates(entry: ScheduleEntry, _: Scheduled) -> Iterator[str]:
    if unknown := set(entry.options) - {"windows"}:
        yield f"options: {', '.join(sorted(unknown))}: there is only `windows`, e.g. [1m, 5m, 1h]"
    try:
        _WINDOWS.validate_python(entry.options.get("windows", []))
    except ValidationError as error:
        yield from _plain(error, "options.windows")


def _no_options(entry: ScheduleEntry, _: Scheduled) -> Iterator[str]:
    if entry.options:
        yield f"options: {', '.join(sorted(entry.options))}: {entry.task} takes none"


def _plain(error: ValidationError, where: str) -> Iterator[str]:
    """Pydantic's findings in one line each."""
    for finding in error.errors():
        path = ".".join([where, *map(str, finding["loc"])])
        yield f"{path}: {finding['msg']}"
