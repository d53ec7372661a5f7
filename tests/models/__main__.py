"""Explores the models and prints how many states they have, what each rule's absence leads to, and the holes.

python -m tests.models [--deep] [--only PART …] [--limit STATES] [--table]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.models.catalogue import PARTS, Part
from tests.models.explorer import MAX_STATES, Model, explore
from tests.models.table import render_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Explore; answer 1 if a model with all its rules was violated, or one without a rule was not."""
    options = _parse(arguments)
    if options.table:
        print(render_table())
        return 0
    parts = [part for part in PARTS if part.name in options.only]
    # No short-circuit: all are explored, whatever the first finds.
    return int(sum(_explore(part, deep=options.deep, limit=options.limit) for part in parts) > 0)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.models", description="Explore the protocol's models."
    )
    parser.add_argument("--deep", action="store_true", help="larger bounds, too: minutes instead of seconds")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names)
    )
    parser.add_argument("--limit", type=int, default=4 * MAX_STATES, help="cut a model at so many states")
    parser.add_argument("--table", action="store_true", help="print the table of docs/architecture.md")
    return parser.parse_args(arguments)


def _explore(part: Part, *, deep: bool, limit: int) -> int:
    """Explore a part; return how much is not as it should be."""
    wrong = 0
    for name, make in {**part.setups, **(part.deep if deep else {})}.items():
        wrong += _report(f"{part.name}: {name}", make(None), None, limit)
    for rule in part.rules:
        wrong += _report(
            f"{part.name} without {rule.name}", part.setups[rule.setup](rule.name), rule.kind, limit
        )
    for name, make in part.holes.items():
        wrong += _report(f"{part.name}, {name}", make(None), "hole", limit)
    return wrong


def _report(title: str, model: Model[Any], expected: str | None, limit: int) -> int:
    began = time.perf_counter()
    outcome = explore(model, limit=limit)
    fine = outcome.violation == expected and not outcome.cut
    verdict, seconds = "" if fine else "NOT AS IT SHOULD BE: ", time.perf_counter() - began
    print(f"{verdict}{title} ({seconds:.1f} s)\n    {outcome}", flush=True)
    return not fine


if __name__ == "__main__":
    sys.exit(main())
