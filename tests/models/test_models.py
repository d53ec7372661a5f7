"""With all its rules every model is free of violations; without any one of them it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.models.__main__ import main
from tests.models.catalogue import PARTS, Make, all_holes, all_rules, all_setups
from tests.models.explorer import Rule, explore
from tests.models.kinds import HOLE
from tests.models.table import render_table

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"


def _named(cases: Any) -> list[Any]:
    return [pytest.param(make, id=f"{part}-{name}") for part, name, make in cases]


@pytest.mark.parametrize("make", _named(all_setups()))
def test_the_protocol_holds_in_every_state(make: Make) -> None:
    outcome = explore(make(None))
    assert outcome.violation is None, outcome
    assert not outcome.cut, outcome


@pytest.mark.parametrize(
    ("rule", "make"),
    [pytest.param(rule, make, id=f"{part}-{rule.name}") for part, rule, make in all_rules()],
)
def test_without_any_one_rule_it_does_not(rule: Rule, make: Make) -> None:
    outcome = explore(make(rule.name))
    assert outcome.violation == rule.kind, outcome
    assert outcome.trace


@pytest.mark.parametrize("make", _named(all_holes()))
def test_what_the_promise_leaves_out_is_found(make: Make) -> None:
    """A setup that minds the hole finds it; the same without minding it is among those that hold."""
    outcome = explore(make(None))
    assert outcome.violation == HOLE, outcome


def test_rules_are_named_once_a_part() -> None:
    for part in PARTS:
        names = [rule.name for rule in part.rules]
        assert len(names) == len(set(names)), part.name


def test_the_architecture_page_has_the_table_of_rules() -> None:
    """`python -m tests.models --table` prints it."""
    assert render_table() in ARCHITECTURE.read_text()


def test_the_command_reports_states_and_traces(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "set_if_absent"]) == 0
    printed = capsys.readouterr().out
    assert "holds in all of" in printed
    assert "created twice: c0 finds none > " in printed
    assert "NOT AS IT SHOULD BE" not in printed


def test_the_command_fails_when_a_model_was_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "set_if_absent", "--limit", "10"]) == 1
    assert "NOT AS IT SHOULD BE" in capsys.readouterr().out
