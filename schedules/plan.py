"""The whole schedule of one installation: the default, what the file says over it, `"*"` spelled out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import yaml

from stoker.core.settings.policy import Policy
from stoker.schedules.model import EVERY_TYPE, ScheduleEntry

#: Where it is not given, `expires` is this share of the interval: a run is dropped before the next is due.
EXPIRES_SHARE = 0.9

#: What `expires` is beside `cron` where it is not given, in seconds.
CRON_EXPIRES_SECONDS = 55.0


class Scheduled(Protocol):
    """What the schedule needs to know of a configuration."""

    @property
    def prefix(self) -> str: ...  # noqa: D102 - the protocol's docstring speaks for both
    @property
    def types(self) -> Mapping[str, Policy]: ...  # noqa: D102
    @property
    def schedule(self) -> Mapping[str, ScheduleEntry]: ...  # noqa: D102


@cache
def default_entries() -> Mapping[str, ScheduleEntry]:
    """Return the entries of `default.yaml`."""
    text = files("stoker.schedules").joinpath("default.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return {name: ScheduleEntry.model_validate(entry) for name, entry in document.items()}


def plan(config: Scheduled) -> dict[str, ScheduleEntry]:
    """Return all enabled entries as they run: one `warm:<type>` for each type that `"*"` stands for."""
    entries = {**default_entries(), **config.schedule}
    enabled = {name: entry for name, entry in entries.items() if entry.enabled}
    taken = {
        entry.options.get("type")
        for entry in entries.values()
        if entry.task == "warm" and entry.options.get("type") != EVERY_TYPE
    }
    planned: dict[str, ScheduleEntry] = {}
    for name, entry in enabled.items():
        if entry.task != "warm" or entry.options.get("type") != EVERY_TYPE:
            planned[name] = entry
            continue
        for cache_type in warmable(config):
            if cache_type not in taken:
                options = {**entry.options, "type": cache_type}
                planned[f"{name}:{cache_type}"] = entry.model_copy(update={"options": options})
    return planned


def warmable(config: Scheduled) -> list[str]:
    """Return the types whose policy has them warmed, in order of name."""
    return sorted(name for name, policy in config.types.items() if policy.warm.mode != "none")


def expires_seconds(entry: ScheduleEntry) -> float:
    """Return after how long a run that no worker took is dropped, in seconds."""
    if entry.expires is not None:
        return entry.expires
    return entry.every * EXPIRES_SHARE if entry.every is not None else CRON_EXPIRES_SECONDS
