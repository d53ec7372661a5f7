"""The models, by name: what the tests, the command and the page go through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.models import (
    epochs,
    flights,
    leases,
    marks,
    memory,
    not_modified,
    outage,
    set_if_absent,
    settling,
    strict,
    sweep,
    vouched,
    write_through,
)
from tests.models.explorer import Model, Rule

Make = Callable[[str | None], Model[Any]]
"""Makes a model within some bounds, without one of its rules or with all."""


@dataclass(frozen=True)
class Part:
    """A part of the protocol, and its model."""

    name: str
    """Its module under `tests/models`."""
    rules: tuple[Rule, ...]
    setups: Mapping[str, Make]
    """Bounds that take seconds at most."""
    deep: Mapping[str, Make]
    """Larger ones."""
    holes: Mapping[str, Make] = field(default_factory=dict[str, Make])
    """Setups that mind what the promise leaves out: each has a violation of the kind *hole*."""


PARTS = (
    Part("strict", strict.StrictReads.rules, strict.SETUPS, strict.DEEP),
    Part("sweep", sweep.Sweeping.rules, sweep.SETUPS, sweep.DEEP),
    Part("flights", flights.Joining.rules, flights.SETUPS, flights.DEEP, flights.HOLES),
    Part("leases", leases.Leases.rules, leases.SETUPS, leases.DEEP),
    Part("marks", marks.Marks.rules, marks.SETUPS, marks.DEEP, marks.HOLES),
    Part("vouched", vouched.Vouched.rules, vouched.SETUPS, vouched.DEEP),
    Part("write_through", write_through.WriteThrough.rules, write_through.SETUPS, write_through.DEEP),
    Part("memory", memory.Memory.rules, memory.SETUPS, memory.DEEP),
    Part("outage", outage.Outage.rules, outage.SETUPS, outage.DEEP),
    Part("epochs", epochs.Epochs.rules, epochs.SETUPS, epochs.DEEP, epochs.HOLES),
    Part("not_modified", not_modified.NotModified.rules, not_modified.SETUPS, not_modified.DEEP),
    Part("set_if_absent", set_if_absent.SetIfAbsent.rules, set_if_absent.SETUPS, set_if_absent.DEEP),
    Part("settling", settling.Settling.rules, settling.SETUPS, settling.DEEP),
)


def all_setups() -> Iterator[tuple[str, str, Make]]:
    """Part, setup, and what makes its model."""
    for part in PARTS:
        for name, make in part.setups.items():
            yield part.name, name, make


def all_rules() -> Iterator[tuple[str, Rule, Make]]:
    """Part, rule, and what makes the model in which its absence shows."""
    for part in PARTS:
        for rule in part.rules:
            yield part.name, rule, part.setups[rule.setup]


def all_holes() -> Iterator[tuple[str, str, Make]]:
    """Part, hole, and what makes the model that minds it."""
    for part in PARTS:
        for name, make in part.holes.items():
            yield part.name, name, make
