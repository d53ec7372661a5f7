"""What becomes of a store: by what the server said, whether others were told, and where its type is kept."""

from __future__ import annotations

import pytest

from stoker.core.entries.commits import Commit
from stoker.core.entries.outcome import Outcome, outcome_of
from stoker.core.settings.policy import Policy

FAR, NEAR = Policy(tiers=("redis",)), Policy(tiers=("memory", "redis"))
ALONE = Policy(tiers=("memory",))
STORED, AWAY = Commit.STORED, Commit.UNREACHABLE
NOBODY, NOT_TOLD, TOLD = None, 0, 5


@pytest.mark.parametrize(
    ("commit", "told", "policy", "outcome", "on_a_condition"),
    [
        (STORED, NOBODY, FAR, Outcome.STORED, Outcome.STORED),
        (STORED, NOBODY, NEAR, Outcome.BOTH, Outcome.BOTH),
        (STORED, TOLD, NEAR, Outcome.STORED, Outcome.STORED),
        (STORED, NOT_TOLD, NEAR, Outcome.STORED, Outcome.STORED),
        (AWAY, NOBODY, FAR, Outcome.REFUSED, Outcome.REFUSED),
        (AWAY, NOBODY, NEAR, Outcome.HERE, Outcome.REFUSED),
        (AWAY, TOLD, NEAR, Outcome.HERE, Outcome.REFUSED),
        (AWAY, NOT_TOLD, NEAR, Outcome.WITHDRAWN, Outcome.REFUSED),
        (AWAY, NOBODY, ALONE, Outcome.HERE, Outcome.HERE),
        (AWAY, TOLD, ALONE, Outcome.HERE, Outcome.HERE),
        (AWAY, NOT_TOLD, ALONE, Outcome.WITHDRAWN, Outcome.WITHDRAWN),
    ],
)
def test_what_becomes_of_a_store(
    commit: Commit, told: int | None, policy: Policy, outcome: Outcome, on_a_condition: Outcome
) -> None:
    assert outcome_of(commit, told, policy, conditional=False) is outcome
    assert outcome_of(commit, told, policy, conditional=True) is on_a_condition


@pytest.mark.parametrize("commit", [Commit.YOUNGER, Commit.OTHER_EPOCH, Commit.FENCED, Commit.LOG_LOST])
@pytest.mark.parametrize("policy", [FAR, NEAR, ALONE])
@pytest.mark.parametrize("told", [NOBODY, NOT_TOLD, TOLD])
@pytest.mark.parametrize("conditional", [False, True])
def test_what_history_has_overtaken_is_refused_whatever_else(
    commit: Commit, policy: Policy, told: int | None, conditional: bool
) -> None:
    assert outcome_of(commit, told, policy, conditional=conditional) is Outcome.REFUSED
