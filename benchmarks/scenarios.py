"""What changes, how it is read, and under which policy: the rows and columns of the freshness matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Changes = Literal["delete", "tag", "type", "pattern", "everything", "batch", "write_through", "mixed"]
Reads = Literal["load", "batch", "by_hand"]
Where = Literal["same process", "other process", "cluster"]
Disaster = Literal["restart", "failover"]


@dataclass(frozen=True)
class Scenario:
    """One row."""

    name: str
    changes: Changes
    """How writers invalidate what they changed."""
    reads: Reads = "load"
    """`load`: `get` and `get_or_load`; `batch`: their many-key forms; `by_hand`: get, miss, compute, set."""
    policy: dict[str, Any] = field(default_factory=dict[str, Any])
    touches: bool = False
    """Whether entries are touched and expired all the while."""
    reloads: bool = False
    """Whether entries are loaded again all the while, as warming does."""
    disaster: Disaster | None = None
    needs: tuple[str, ...] = ()
    """Names that a `CacheManager` must have."""


SCENARIOS = (
    Scenario("delete", "delete"),
    Scenario("tag", "tag"),
    Scenario("type", "type"),
    Scenario("pattern", "pattern"),
    Scenario("everything", "everything"),
    Scenario("refresh-in-flight", "mixed", policy={"ttl": 0.03, "stale": 60.0, "early": 0.5}, reloads=True),
    Scenario("batch", "batch", "batch", needs=("get_many", "get_or_load_many", "delete_many")),
    Scenario("get-compute-set", "mixed", "by_hand", needs=("fill",)),
    Scenario("write-through", "write_through", needs=("write_through",)),
    Scenario("touch", "mixed", policy={"ttl": 0.3}, touches=True, needs=("touch", "expire")),
    Scenario("restart", "mixed", disaster="restart"),
    Scenario("failover", "mixed", disaster="failover"),
)

TIERS: dict[str, list[str]] = {"redis": ["redis"], "memory": ["memory"], "both": ["memory", "redis"]}

WHERE: tuple[Where, ...] = ("same process", "other process", "cluster")


@dataclass(frozen=True)
class Cell:
    """One field of the matrix."""

    scenario: Scenario
    tier: str
    where: Where

    @property
    def name(self) -> str:
        """As in the report."""
        return f"{self.scenario.name} / {self.tier} / {self.where}"

    @property
    def bounded(self) -> bool:
        """Whether reads may come from memory, and so lag by as much as its bound."""
        return self.tier != "redis"


def cells(only: list[str] | None) -> list[Cell]:
    """The matrix; of it those whose name holds one of the given texts."""
    every = [Cell(scenario, tier, where) for where in WHERE for tier in TIERS for scenario in SCENARIOS]
    return [cell for cell in every if not only or any(part in cell.name for part in only)]
